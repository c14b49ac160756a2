.PHONY: run test lint bench

run:
	./dev up

test:
	./dev test

lint:
	./dev lint

bench:
	./dev bench
