# `make` lists the targets. Everything is idempotent; nothing here needs root
# beforehand: what does asks sudo for it.

SHELL       := /bin/bash
export CGO_ENABLED ?= 0

PKGS        ?= ./...
NODES       ?= 3
HYPERVISOR  ?= qemu
TIME        ?= 10m
AS_ROOT     := $(if $(filter 0,$(shell id -u)),,sudo)
PORTABLE    := $(addsuffix /...,$(wildcard ./sf ./store)) $(wildcard ./cmd/sf-client)
STATICCHECK := build/staticcheck

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' Makefile
	@echo "  variables:   PKGS=./dhcpd for test, check, cover; TIME=1h for soak; KEEP=1 and IMAGE=cirros for demo;"
	@echo "               NODES=3, HYPERVISOR=qemu or libvirt and SFD=\"more options\" for cluster"

.PHONY: deps
deps: ## install the Debian packages that tests need, where missing
	@.ci/deps

.PHONY: build
build: ## bin/sfd and bin/sf-client
	@mkdir -p bin
	go build -trimpath -o bin/ $(wildcard ./cmd/sfd ./cmd/sf-client)

.PHONY: test
test: deps check-build test-fast test-real ## install what is missing, then every test, the real ones included

.PHONY: check
check: lint test-race ## lint and all tests for which nothing has to boot, race detector on

# The pure tests as shipped: without cgo, and leaving out whatever needs root,
# a foreign program or a machine.
.PHONY: test-fast
test-fast: ## the tests that need nothing of the machine
	SF_REQUIRE=0 go test -timeout=5m $(PKGS)

.PHONY: test-race
test-race: ## the same with the race detector (needs gcc)
	SF_REQUIRE=0 CGO_ENABLED=1 go test -race -timeout=8m $(PKGS)

.PHONY: test-real
test-real: ## every test as root, with race detector; none may be skipped
	@mkdir -p build
	CGO_ENABLED=1 go build -race ./...
	@.ci/test $(PKGS)

.PHONY: check-build
check-build:
	go build ./...
	go vet ./...

.PHONY: demo
demo: build ## boot a guest through sfd and sf-client, show it, remove it
	@.ci/deps demo
	go run ./examples/demo $(if $(KEEP),-keep) $(if $(IMAGE),-image $(IMAGE))

# A binary of its own rather than go run: a process of it stays.
CLUSTER := build/cluster
.PHONY: $(CLUSTER)
$(CLUSTER):
	@mkdir -p build
	go build -trimpath -o $@ ./examples/cluster

.PHONY: cluster
cluster: build $(CLUSTER) ## a cloud of NODES (3) machines on this one, to try things with
	@.ci/deps cluster $(HYPERVISOR)
	@$(AS_ROOT) $(CLUSTER) -nodes $(NODES) -hypervisor $(HYPERVISOR) -sfd "$(SFD)" up

.PHONY: cluster-down
cluster-down: $(CLUSTER) ## end it, whatever is left of it, and show that nothing is
	@$(AS_ROOT) $(CLUSTER) down

.PHONY: bench
bench: deps build ## benchmarks, and the table of ratios
	@.ci/bench

.PHONY: soak
soak: deps ## the random and fault tests for TIME (10m)
	@.ci/soak $(TIME)

.PHONY: fuzz
fuzz: ## every fuzzer for a little while
	@.ci/fuzz

.PHONY: lint
lint: $(STATICCHECK) cross ## gofmt, vet, staticcheck, other systems, package list
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "make fmt would change:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...
	$(STATICCHECK) ./...
	@.ci/lint

# The linter lives in a module of its own, so that users of the library never see
# what it depends on.
$(STATICCHECK): .ci/tools/go.mod .ci/tools/go.sum
	@mkdir -p build
	cd .ci/tools && go build -o ../../$@ honnef.co/go/tools/cmd/staticcheck

.PHONY: cross
cross: ## build what is portable for macOS and Windows, everything for Linux
	go build ./...
	GOOS=linux GOARCH=arm64 go build ./...
	GOOS=darwin GOARCH=arm64 go vet $(PORTABLE)
	GOOS=windows GOARCH=amd64 go vet $(PORTABLE)

.PHONY: fmt
fmt: ## gofmt
	gofmt -l -w $$(git ls-files '*.go')

.PHONY: cover
cover: ## coverage of the fast tests, as build/cover.html
	@mkdir -p build
	SF_REQUIRE=0 go test -coverprofile=build/cover.out -coverpkg=./... $(PKGS)
	go tool cover -html=build/cover.out -o build/cover.html
	@go tool cover -func=build/cover.out | tail -1

.PHONY: clean
clean: ## remove bin/ and build/
	rm -rf bin build
