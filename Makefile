# The two set-up commands of the README are `make demo` and `make test`.
export CGO_ENABLED = 0
GO ?= go

.PHONY: test
test:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "run gofmt"; exit 1; }
	$(GO) vet ./...
	$(GO) test -timeout 60m ./...
