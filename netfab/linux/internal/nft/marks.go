//go:build linux

package nft

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
)

// Marked is a table, or a chain of somebody else's table, with rules that carry an
// owner's mark.
type Marked struct {
	Family nftables.TableFamily
	Table  string
	Chain  string // of somebody else's; empty for a table of the owner's
	Owner  string // empty for a table without marks
}

// Marks lists all tables, by family and name, with the owners that begin with a
// prefix. Somebody else's chain is listed where rules of an owner are in it.
func (c *Conn) Marks(prefix string) ([]Marked, error) {
	var all []Marked
	for _, family := range []nftables.TableFamily{
		nftables.TableFamilyIPv4, nftables.TableFamilyINet, nftables.TableFamilyBridge, nftables.TableFamilyARP,
	} {
		tables, err := c.nl.ListTablesOfFamily(family)
		if err != nil {
			return nil, fmt.Errorf("list tables: %w", err)
		}
		for _, t := range tables {
			rules, err := c.rules(family, t.Name, "")
			if err != nil {
				return nil, err
			}
			all = append(all, marksOf(family, t.Name, rules, prefix)...)
		}
	}
	return all, nil
}

func marksOf(family nftables.TableFamily, table string, rules []found, prefix string) []Marked {
	whole := Marked{Family: family, Table: table}
	var guests []Marked
	for _, r := range rules {
		if !strings.HasPrefix(r.mark, prefix) {
			continue
		}
		owner, isPass := passOwner(r.mark)
		if !isPass {
			owner = r.mark[:max(strings.LastIndexByte(r.mark, ' '), 0)] // without the digest
			whole.Owner = owner
			continue
		}
		if m := (Marked{Family: family, Table: table, Chain: r.chain, Owner: owner}); !slices.Contains(guests, m) {
			guests = append(guests, m)
		}
	}
	return append([]Marked{whole}, guests...)
}
