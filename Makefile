.PHONY: run test lint docs bench

run:
	./dev up

test:
	./dev test

lint:
	./dev lint

docs:
	./dev docs

bench:
	./dev bench
