//go:build linux

// Package nft builds and repairs nftables tables of one network namespace. A
// Table is a value: sets, chains and rules. What packets are matched against is
// kept in sets and maps, so that rules are built once and only elements change:
// replacing a table in use would misroute the flows that start meanwhile.
package nft

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Table is a whole table as it should be, without its sets' elements.
type Table struct {
	Family nftables.TableFamily
	Name   string
	Sets   []Set
	Chains []Chain
}

// Set is a set, or a map where Value has bytes.
type Set struct {
	Name  string
	Key   nftables.SetDatatype
	Value nftables.SetDatatype
	// Native is for keys in the host's byte order (interface names).
	Native bool
	// Ages is for elements that may have a Timeout.
	Ages bool
	// Meters is for elements that rules make (see Beyond), one for each key, and that age.
	Meters bool
}

// Chain is a chain; without a Type it has no hook and is only jumped to.
type Chain struct {
	Name     string
	Type     nftables.ChainType
	Hook     *nftables.ChainHook
	Priority nftables.ChainPriority
	Drop     bool // policy
	Rules    []Rule
}

// Rule is a list of expressions.
type Rule []expr.Any

// Conn talks to nftables in one namespace. It is not safe for concurrent use.
type Conn struct {
	nl    *nftables.Conn
	read  *netlink.Conn // for what the library's listings lack
	owner string
}

// Dial opens a connection to the namespace of that file descriptor, which may be
// closed afterwards. The owner is written into the comment of every rule.
func Dial(nsFd int, owner string) (*Conn, error) {
	const buffer = 4 << 20 // one acknowledgement a message must fit
	nl, err := nftables.New(nftables.AsLasting(), nftables.WithNetNSFd(nsFd),
		nftables.WithSockOptions(func(c *netlink.Conn) error {
			return errors.Join(c.SetReadBuffer(buffer), c.SetWriteBuffer(buffer))
		}))
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	read, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: nsFd})
	if err != nil {
		nl.CloseLasting()
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return &Conn{nl: nl, read: read, owner: owner}, nil
}

// Close closes the connection.
func (c *Conn) Close() error { return errors.Join(c.read.Close(), c.nl.CloseLasting()) }

// Build makes the table's sets and chains where they are missing and gives the
// chains their rules, in one transaction. Elements stay.
func (c *Conn) Build(t Table) error {
	table := c.nl.AddTable(&nftables.Table{Family: t.Family, Name: t.Name})
	for i, s := range t.Sets {
		set := s.in(table)
		set.ID = uint32(i + 1) // unique in the batch: the library's own counter is a data race
		if err := c.nl.AddSet(set, nil); err != nil {
			return fmt.Errorf("set %s: %w", s.Name, err)
		}
	}
	for _, chain := range t.Chains {
		c.nl.FlushChain(c.nl.AddChain(chain.in(table)))
	}
	for _, chain := range t.Chains {
		for i, rule := range chain.Rules {
			c.nl.AddRule(&nftables.Rule{
				Table: table, Chain: &nftables.Chain{Name: chain.Name, Table: table},
				Exprs: rule, UserData: comment(c.mark(t, chain, i)),
			})
		}
	}
	if err := c.nl.Flush(); err != nil {
		return fmt.Errorf("build table %s: %w", t.Name, err)
	}
	return nil
}

// Check compares chains and rules with what the table should have and returns
// what is wrong, or "".
func (c *Conn) Check(t Table) (string, error) {
	rules, err := c.rules(t.Family, t.Name, "")
	if err != nil {
		return "", err
	}
	have := map[string][]string{}
	for _, r := range rules {
		have[r.chain] = append(have[r.chain], r.mark)
	}
	for _, chain := range t.Chains {
		marks := have[chain.Name]
		if len(marks) != len(chain.Rules) {
			return fmt.Sprintf("nft chain %s %s has %d rules instead of %d", t.Name, chain.Name, len(marks), len(chain.Rules)), nil
		}
		for i, mark := range marks {
			if mark != c.mark(t, chain, i) {
				return fmt.Sprintf("nft chain %s %s has another rule %d", t.Name, chain.Name, i+1), nil
			}
		}
	}
	return "", nil
}

// Owned tells whether a table of that name exists, and whether all its rules
// carry our owner's mark. (A table without rules is nobody's: taking it is safe.)
func (c *Conn) Owned(family nftables.TableFamily, name string) (exists, ours bool, err error) {
	tables, err := c.nl.ListTablesOfFamily(family)
	if err != nil {
		return false, false, fmt.Errorf("list tables: %w", err)
	}
	for _, table := range tables {
		exists = exists || table.Name == name
	}
	if !exists {
		return false, false, nil
	}
	rules, err := c.rules(family, name, "")
	for _, r := range rules {
		if !strings.HasPrefix(r.mark, c.owner+" ") {
			return true, false, err
		}
	}
	return true, err == nil, err
}

// Delete removes a table; one that is gone is nil.
func (c *Conn) Delete(family nftables.TableFamily, name string) error {
	c.nl.DelTable(&nftables.Table{Family: family, Name: name})
	if err := c.nl.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("delete table %s: %w", name, err)
	}
	return nil
}

// mark is the comment of a rule: whose it is, and a digest of what it says.
func (c *Conn) mark(t Table, chain Chain, rule int) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s/%s/%d/%v/%v/%d/%v", t.Name, chain.Name, rule, chain.Type, chain.Drop, chain.Priority, chain.Hook != nil)
	for _, e := range chain.Rules[rule] {
		bytes, err := expr.Marshal(byte(t.Family), e)
		fmt.Fprint(h, len(bytes), err)
		h.Write(bytes)
	}
	return fmt.Sprintf("%s %x", c.owner, h.Sum(nil)[:4])
}

func comment(text string) []byte {
	return userdata.AppendString(nil, userdata.TypeComment, text)
}

func (s Set) in(table *nftables.Table) *nftables.Set {
	set := &nftables.Set{Table: table, Name: s.Name, KeyType: s.Key, DataType: s.Value, IsMap: s.Value.Bytes > 0,
		HasTimeout: s.Ages || s.Meters, Dynamic: s.Meters}
	if s.Native {
		set.KeyByteOrder = binaryutil.NativeEndian
	}
	return set
}

func (chain Chain) in(table *nftables.Table) *nftables.Chain {
	out := &nftables.Chain{Name: chain.Name, Table: table}
	if chain.Type == "" {
		return out
	}
	policy := nftables.ChainPolicyAccept
	if chain.Drop {
		policy = nftables.ChainPolicyDrop
	}
	out.Type, out.Hooknum, out.Priority, out.Policy = chain.Type, chain.Hook, &chain.Priority, &policy
	return out
}
