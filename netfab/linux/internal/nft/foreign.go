//go:build linux

package nft

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// firewalld rejects at the end of its forward chain rather than by policy.
const firewalld = "firewalld"

// passMark ends the comment of our rules in other people's chains.
const passMark = " pass"

// A Gate is a forward chain of somebody else's that our packets must pass, since
// an accept of ours does not outweigh its drop.
type Gate struct {
	chain  *nftables.Chain
	handle []uint64 // of our rules in it
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
			case len(gate.handle) > 0:
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
		if r.mark == c.owner+passMark {
			gate.handle = append(gate.handle, r.handle)
		}
	}
	return gate, nil
}

// Closed lists the gates that lack a rule of ours, as text.
func Closed(gates []Gate, pass []Rule) string {
	var closed []string
	for _, g := range gates {
		if len(g.handle) != len(pass) {
			closed = append(closed, g.String())
		}
	}
	return strings.Join(closed, ", ")
}

// Open puts rules at the head of each gate that lacks one of them.
func (c *Conn) Open(gates []Gate, pass []Rule) error {
	for _, g := range gates {
		if len(g.handle) == len(pass) {
			continue
		}
		if err := c.shut(g); err != nil {
			return err
		}
		for _, rule := range pass {
			c.nl.InsertRule(&nftables.Rule{
				Table: g.chain.Table, Chain: g.chain, Exprs: rule, UserData: comment(c.owner + passMark),
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
	for _, handle := range g.handle {
		if err := c.nl.DelRule(&nftables.Rule{Table: g.chain.Table, Chain: g.chain, Handle: handle}); err != nil {
			return err
		}
	}
	return nil
}
