# Every target a developer needs; `make` lists them. CI (.ci/run) calls the same ones.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)

CONFIG   ?= config.example.toml
FUZZTIME ?= 60s
# quick or default; only the parts and kinds of work with this in their name; runs for benchstat
MODE       ?= default
ONLY       ?=
BENCHCOUNT ?= $(if $(filter quick,$(MODE)),1,6)
# of a soak
DURATION   ?= 1m
# What is tested; narrow it while working: make test PKG=./internal/esmtp/...
PKG      ?= ./...

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/rcptgate, static, with its version
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/rcptgate ./cmd/rcptgate

.PHONY: man
man: build ## write the man pages into dist/man
	mkdir -p dist/man
	SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct)} bin/rcptgate man dist/man

.PHONY: sbom
sbom: build ## tell what the binary is made of: dist/sbom.cdx.json, dist/licenses.txt
	mkdir -p dist
	SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct)} go run ./deploy/sbom \
	  -binary bin/rcptgate -version '$(VERSION)' -sbom dist/sbom.cdx.json -licenses dist/licenses.txt

.PHONY: deb
deb: ## build the Debian package, dist/rcptgate_*.deb, the same octets for the same commit
	deploy/deb/build

.PHONY: run
run: build ## run the gate with CONFIG (config.example.toml)
	bin/rcptgate serve --config $(CONFIG)

.PHONY: demo
demo: build ## a whole simulated world on loopback: see what the gate does, and why
	bin/rcptgate demo

.PHONY: test
test: setup ## vet and all tests under -race, with the real Postfix chains
	go vet $(PKG)
	go test -race -shuffle=on -timeout=20m $(PKG)

.PHONY: race
race: setup ## the tests again and again under -race (COUNT=5), without e2e
	go test -race -shuffle=on -count=$(or $(COUNT),5) $$(go list $(PKG) | grep -v '/e2e$$')

.PHONY: e2e
e2e: setup ## only the end-to-end tests: the real binary between real Postfix instances
	go test -race -count=1 -v ./e2e

.PHONY: bench
bench: build setup ## measure the gate beside a splice and Postfix (MODE=quick: a minute), then its parts
	bin/rcptgate bench --mode $(MODE) --postfix e2e/postfix.sh --only '$(ONLY)'
	$(if $(ONLY),,go test -run='^$$' -bench=. -benchmem -count=$(BENCHCOUNT) $$(go list $(PKG) | grep -v '/e2e$$'))

.PHONY: soak
soak: build ## send through faults, crashes and restarts for DURATION (1m), and balance the ledger
	bin/rcptgate bench soak --duration $(DURATION)

.PHONY: fuzz
fuzz: setup ## run every fuzz target for FUZZTIME (60s)
	.ci/fuzz $(FUZZTIME)

.PHONY: lint
lint: ## golangci-lint, as pinned in .ci/golangci-lint
	.ci/golangci-lint run ./...

.PHONY: fmt
fmt: ## format the sources (gofumpt, grouped imports)
	.ci/golangci-lint fmt ./...

.PHONY: clean
clean: ## remove what was built and the fuzzers' cached corpora
	rm -rf bin dist
	go clean -fuzzcache

.PHONY: setup
setup:
	@.ci/setup
