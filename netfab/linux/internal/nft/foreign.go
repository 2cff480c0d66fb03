//go:build linux

package nft

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// firewalld rejects at the end of its forward chain rather than by policy.
const firewalld = "firewalld"

// passMark follows the owner in the comment of our rules in other people's chains,
// and a digest follows it. (Earlier versions wrote none.)
const passMark = " pass"

// passOwner reads the owner out of such a comment.
func passOwner(mark string) (owner string, ok bool) {
	at := strings.LastIndex(mark, passMark)
	if at < 0 {
		return "", false
	}
	rest := mark[at+len(passMark):]
	return mark[:at], rest == "" || rest[0] == ' '
}

// passMarks are the comments of such rules, sorted.
func (c *Conn) passMarks(pass []Rule) []string {
	var marks []string
	for _, rule := range pass {
		marks = append(marks, fmt.Sprintf("%s%s %x", c.owner, passMark, digest(rule)))
	}
	slices.Sort(marks)
	return marks
}

func digest(rule Rule) []byte {
	h := sha256.New()
	for _, e := range rule {
		bytes, err := expr.Marshal(unix.NFPROTO_IPV4, e)
		fmt.Fprint(h, len(bytes), err)
		h.Write(bytes)
	}
	return h.Sum(nil)[:4]
}

// A Gate is a forward chain of somebody else's that our packets must pass, since
// an accept of ours does not outweigh its drop.
type Gate struct {
	chain *nftables.Chain
	ours  []found // rules in it
}

func (g Gate) String() string {
	return fmt.Sprintf("%s %s", g.chain.Table.Name, g.chain.Name)
}

// Gates lists the chains of the ip and inet families at the forward hook that
// drop by default or hold rules of ours.
func (c *Conn) Gates() (drop, stale []Gate, err error) {
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyINet} {
		chains, err := c.nl.ListChainsOfTableFamily(family)
		if err != nil {
			return nil, nil, fmt.Errorf("list chains: %w", err)
		}
		for _, chain := range chains {
			if chain.Type != nftables.ChainTypeFilter || chain.Hooknum == nil || *chain.Hooknum != *nftables.ChainHookForward {
				continue
			}
			gate, err := c.gate(chain)
			if err != nil {
				return nil, nil, err
			}
			drops := chain.Policy != nil && *chain.Policy == nftables.ChainPolicyDrop || chain.Table.Name == firewalld
			switch {
			case drops:
				drop = append(drop, gate)
			case len(gate.ours) > 0:
				stale = append(stale, gate)
			}
		}
	}
	return drop, stale, nil
}

func (c *Conn) gate(chain *nftables.Chain) (Gate, error) {
	gate := Gate{chain: chain}
	rules, err := c.rules(chain.Table.Family, chain.Table.Name, chain.Name)
	if err != nil {
		return gate, err
	}
	for _, r := range rules {
		if owner, ok := passOwner(r.mark); ok && owner == c.owner {
			gate.ours = append(gate.ours, r)
		}
	}
	return gate, nil
}

// Closed lists the gates that have other rules of ours, as text.
func (c *Conn) Closed(gates []Gate, pass []Rule) string {
	var closed []string
	want := c.passMarks(pass)
	for _, g := range gates {
		if !g.has(want) {
			closed = append(closed, g.String())
		}
	}
	return strings.Join(closed, ", ")
}

// has reports whether a gate has these rules of ours and no others.
func (g Gate) has(marks []string) bool {
	var have []string
	for _, r := range g.ours {
		have = append(have, r.mark)
	}
	slices.Sort(have)
	return slices.Equal(have, marks)
}

// Open puts rules at the head of each gate that has others of ours.
func (c *Conn) Open(gates []Gate, pass []Rule) error {
	want := c.passMarks(pass)
	for _, g := range gates {
		if g.has(want) {
			continue
		}
		if err := c.shut(g); err != nil {
			return err
		}
		for _, rule := range pass {
			c.nl.InsertRule(&nftables.Rule{
				Table: g.chain.Table, Chain: g.chain, Exprs: rule, UserData: comment(c.passMarks([]Rule{rule})[0]),
			})
		}
		err := c.nl.Flush()
		if errors.Is(err, unix.EPERM) {
			return fmt.Errorf("chain %s drops what is forwarded and its owner lets nobody add rules: allow forwarding for our bridge there: %w", g, err)
		}
		if err != nil {
			return fmt.Errorf("accept our traffic in chain %s: %w", g, err)
		}
	}
	return nil
}

// Shut removes our rules from gates.
func (c *Conn) Shut(gates []Gate) error {
	for _, g := range gates {
		if err := c.shut(g); err != nil {
			return err
		}
	}
	if err := c.nl.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove our rules from other people's chains: %w", err)
	}
	return nil
}

func (c *Conn) shut(g Gate) error {
	for _, r := range g.ours {
		if err := c.nl.DelRule(&nftables.Rule{Table: g.chain.Table, Chain: g.chain, Handle: r.handle}); err != nil {
			return err
		}
	}
	return nil
}
