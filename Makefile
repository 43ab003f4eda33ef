# The two set-up commands of the README are `make demo` and `make test`; they
# need Go, git and make, and the mirrors of the host's apt sources.
export CGO_ENABLED = 0
GO ?= go
OUT = build

DESK = provenance/report/desk

.PHONY: build build-keys demo test desk desk-test desk-images lint fuzz attacks bench man docs clean

build: ## the binary, build/isotrace
	$(GO) build -trimpath -o $(OUT)/isotrace ./cmd/isotrace

build-keys: ## the same with tokens (PKCS#11) and key services, build/isotrace-keys; it needs a C compiler
	CGO_ENABLED=1 $(GO) build -trimpath -tags keyservices,pkcs11key -o $(OUT)/isotrace-keys ./cmd/isotrace

demo: build ## examples/rescue: build, verify, boot it in all ways
	mkdir -p $(OUT)/demo
	cp -R examples/rescue/. $(OUT)/demo
	test -e $(OUT)/demo/keys/builder.key || COSIGN_PASSWORD=demo $(OUT)/isotrace -C $(OUT)/demo keys new
	COSIGN_PASSWORD=demo $(OUT)/isotrace -C $(OUT)/demo build
	$(OUT)/isotrace verify $(OUT)/demo/out --key $(OUT)/demo/keys/builder.pub
	$(OUT)/isotrace boot $(OUT)/demo/out --firmware bios,uefi,secureboot --medium cd,usb

test: lint ## everything that CI wants
	$(GO) test -timeout 80m ./...
	$(GO) test -tags keyservices ./provenance/keyref

desk: ## the program of the auditor's desk, from its sources; it needs Node and npm
	cd $(DESK)/web && npm ci --no-audit --no-fund && npm run --silent build

desk-test: ## makes that again, compares the bytes, and tries the desk in Chromium
	@# As root it installs what is missing; anybody else is told.
	@for p in node:nodejs npm:npm chromium:chromium; do command -v $${p%%:*} >/dev/null || need="$$need $${p#*:}"; done; \
		test -z "$$need" || { test "$$(id -u)" = 0 || { echo "desk-test needs$$need"; exit 1; }; apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $$need; }
	rm -rf $(OUT)/desk && mkdir -p $(OUT)/desk
	cd $(DESK)/web && npm ci --no-audit --no-fund && npm run --silent check && node build.mjs $(CURDIR)/$(OUT)/desk
	diff -rq $(OUT)/desk $(DESK)/dist || { echo "$(DESK)/dist is not what its sources make: make desk"; exit 1; }
	$(GO) vet -tags browser ./$(DESK)/...
	$(GO) test -tags browser -count=1 -timeout 20m -v ./$(DESK)

desk-images: build ## the pictures in docs/images, of the project in PROJECT (out, keys)
	@mkdir -p $(OUT) && rm -f $(OUT)/desk.url; \
		$(OUT)/isotrace serve $(PROJECT)/out --key $(PROJECT)/keys/builder.pub >$(OUT)/desk.url & pid=$$!; trap "kill $$pid" EXIT; \
		until test -s $(OUT)/desk.url; do kill -0 $$pid || exit 1; sleep 1; done; \
		$(GO) run -tags browser ./$(DESK)/shots -page $$(cut -d' ' -f1 $(OUT)/desk.url) -out docs/images

lint:
	@test -z "$$(gofmt -l cmd internal policy provenance sbom stages)" || { gofmt -l cmd internal policy provenance sbom stages; echo "run gofmt -w"; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags keyservices ./provenance/keyref
	$(GO) tool staticcheck ./...

fuzz: ## each fuzz target for a while
	@for p in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz'); do \
			echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime 30s -fuzzminimizetime 1s $$p || exit 1; \
		done; \
	done

attacks: ## tampers with the release in PROJECT (out, keys, COSIGN_PASSWORD) in every known way
	$(GO) run ./cmd/attacks -project $(PROJECT) -archive $(ARCHIVE)

bench: build ## times and memory of the main jobs, into build/bench.txt; BEFORE=BINARY: of that one, too, run by run; JOBS=REGEXP
	$(GO) run ./internal/bench -binary $(OUT)/isotrace -before '$(BEFORE)' -jobs '$(JOBS)' -example examples/rescue -out $(OUT)/bench.txt
	@# One path among 100,000, from opening the evidence on.
	$(GO) test -run '^$$' -bench Tracing ./provenance | tee -a $(OUT)/bench.txt

docs: ## what is generated from the code
	$(GO) test ./internal/config ./policy ./stages -run 'TestSchema|TestPipelineDoc' -update

man: build
	$(OUT)/isotrace man $(OUT)/man1

clean: ## the store stays: isotrace store gc
	rm -rf $(OUT)
