package sf_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/memory"
)

// listed counts the lists below a prefix.
type listed struct {
	store.Store
	prefix string
	lists  int
}

func (s *listed) List(ctx context.Context, prefix string, page store.Page) (store.List, error) {
	if strings.HasPrefix(prefix, s.prefix) {
		s.lists++
	}
	return s.Store.List(ctx, prefix, page)
}

// Addresses of a large network that is half full are found without reading the claims
// on all of them, which would cost the more the more guests there are.
func TestAddressOfALargeNetwork(t *testing.T) {
	ctx := t.Context()
	records := &listed{Store: memory.New(memory.Config{}), prefix: "sf/address/"}
	defer records.Close()
	cloud, err := sf.Open(ctx, sf.Config{Store: records})
	if err != nil {
		t.Fatal(err)
	}
	if err := furnish(ctx, records, 3); err != nil {
		t.Fatal(err)
	}
	network, err := cloud.CreateNetwork(ctx, sf.System, sf.NetworkSpec{Name: "lan", Netblock: "10.1.0.0/16"})
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddr("10.1.0.2")
	for range 256 {
		var txn store.Txn
		for range 128 {
			txn.Do = append(txn.Do, store.Put(fmt.Sprintf("sf/address/%s/%s", network.UUID, addr), []byte(`{"owner":"somebody"}`)))
			addr = addr.Next()
		}
		if _, err := records.Commit(ctx, txn); err != nil {
			t.Fatal(err)
		}
	}
	for range 200 {
		if _, err := cloud.CreateInstance(ctx, sf.System, small("vm", sf.InterfaceSpec{Network: network.UUID})); err != nil {
			t.Fatal(err)
		}
	}
	if records.lists > 0 {
		t.Errorf("all claims were read %d times for 200 instances", records.lists)
	}
}
