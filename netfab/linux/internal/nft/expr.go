//go:build linux

package nft

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Base says from where a packet's bytes are counted.
type Base = expr.PayloadBase

// Bases.
const (
	Link      = expr.PayloadBaseLLHeader
	Network   = expr.PayloadBaseNetworkHeader
	Transport = expr.PayloadBaseTransportHeader
)

// Join makes one rule of parts.
func Join(parts ...Rule) Rule { return slices.Concat(parts...) }

// Load puts a packet's bytes into a register.
func Load(base Base, offset, length, register uint32) Rule {
	return Rule{&expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: length}}
}

// Is matches a packet's bytes.
func Is(base Base, offset uint32, value ...byte) Rule {
	return payload(expr.CmpOpEq, base, offset, value)
}

// IsNot matches other bytes.
func IsNot(base Base, offset uint32, value ...byte) Rule {
	return payload(expr.CmpOpNeq, base, offset, value)
}

func payload(op expr.CmpOp, base Base, offset uint32, value []byte) Rule {
	return append(Load(base, offset, uint32(len(value)), 1), &expr.Cmp{Op: op, Register: 1, Data: value})
}

// In matches packets that came in by an interface.
func In(name string) Rule { return meta(expr.MetaKeyIIFNAME, expr.CmpOpEq, IfName(name)) }

// NotIn matches packets that came in by another.
func NotIn(name string) Rule { return meta(expr.MetaKeyIIFNAME, expr.CmpOpNeq, IfName(name)) }

// Out matches packets that leave by an interface.
func Out(name string) Rule { return meta(expr.MetaKeyOIFNAME, expr.CmpOpEq, IfName(name)) }

// NotOut matches packets that leave by another.
func NotOut(name string) Rule { return meta(expr.MetaKeyOIFNAME, expr.CmpOpNeq, IfName(name)) }

// InPrefix matches packets that came in by an interface whose name begins so.
func InPrefix(prefix string) Rule {
	return meta(expr.MetaKeyIIFNAME, expr.CmpOpEq, []byte(prefix))
}

// OutPrefix matches packets that leave by an interface whose name begins so.
func OutPrefix(prefix string) Rule {
	return meta(expr.MetaKeyOIFNAME, expr.CmpOpEq, []byte(prefix))
}

// EtherType puts a packet's Ethernet type into register 1.
func EtherType() Rule { return Rule{&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1}} }

// Proto matches the transport protocol (unix.IPPROTO_UDP).
func Proto(number byte) Rule { return meta(expr.MetaKeyL4PROTO, expr.CmpOpEq, []byte{number}) }

// Sound matches packets with a header that the kernel would take: of a version, of
// lengths that fit each other and the frame.
func Sound() Rule { return Rule{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}} }

// IPv4 matches IPv4 in the inet family.
func IPv4() Rule { return meta(expr.MetaKeyNFPROTO, expr.CmpOpEq, []byte{unix.NFPROTO_IPV4}) }

func meta(key expr.MetaKey, op expr.CmpOp, value []byte) Rule {
	return Rule{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: value}}
}

// IfName is an interface's name as nftables compares it.
func IfName(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

// Within matches an IPv4 address at an offset of the network header (12 source,
// 16 destination) against a prefix.
func Within(offset uint32, addr [4]byte, bits int) Rule {
	mask := binary.BigEndian.AppendUint32(nil, ^uint32(0)<<(32-bits))
	return append(Load(Network, offset, 4, 1),
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: addr[:]})
}

// Conntrack states and status bits.
const (
	Invalid     = expr.CtStateBitINVALID
	Established = expr.CtStateBitESTABLISHED
	Related     = expr.CtStateBitRELATED
	DNATed      = 1 << 5 // IPS_DST_NAT
)

// State matches connections in any of the states.
func State(bits uint32) Rule { return conntrack(expr.CtKeySTATE, bits) }

// Status matches connections with any of the status bits.
func Status(bits uint32) Rule { return conntrack(expr.CtKeySTATUS, bits) }

func conntrack(key expr.CtKey, bits uint32) Rule {
	mask := binary.NativeEndian.AppendUint32(nil, bits)
	return Rule{
		&expr.Ct{Key: key, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// InSet matches when the key in register 1 is in a set or map.
func InSet(name string) Rule { return Rule{&expr.Lookup{SourceRegister: 1, SetName: name}} }

// NotInSet matches when it is not.
func NotInSet(name string) Rule {
	return Rule{&expr.Lookup{SourceRegister: 1, SetName: name, Invert: true}}
}

// meterLife is how long a set that meters remembers a key after its last packet. Whoever
// is silent for so long may have a whole burst again in any case.
const meterLife = time.Minute

// Beyond matches the packets with the key in register 1, of which there were more than a
// burst and then so many a second. A set that meters counts them.
func Beyond(set string, perSecond uint64, burst uint32) Rule {
	return Rule{&expr.Dynset{SrcRegKey: 1, SetName: set, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: meterLife, Exprs: []expr.Any{
		&expr.Limit{Type: expr.LimitTypePkts, Rate: perSecond, Unit: expr.LimitTimeSecond, Burst: burst, Over: true},
	}}}
}

// Map replaces register 1 by what a map has for it, and matches when it has.
func Map(name string) Rule {
	return Rule{&expr.Lookup{SourceRegister: 1, DestRegister: 1, IsDestRegSet: true, SetName: name}}
}

// Value puts bytes into register 1.
func Value(b []byte) Rule { return Rule{&expr.Immediate{Register: 1, Data: b}} }

// SNAT translates the source to the address in register 1.
func SNAT() Rule {
	return Rule{&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1}}
}

// DNAT translates the destination to the address in register 1.
func DNAT() Rule {
	return Rule{&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1}}
}

// Masquerade translates the source to the leaving interface's address.
func Masquerade() Rule { return Rule{&expr.Masq{}} }

// SetLink writes bytes into the Ethernet header.
func SetLink(offset uint32, value []byte) Rule {
	return append(Value(value), &expr.Payload{
		OperationType: expr.PayloadWrite, SourceRegister: 1,
		Base: Link, Offset: offset, Len: uint32(len(value)),
	})
}

// ForHost makes a frame one for this host, where the kernel has it noted for
// another: rewriting its destination comes too late for that.
func ForHost() Rule { return packetType(unix.PACKET_HOST) }

// ForOther makes a frame one for another host: packet sockets get it, IP does not.
func ForOther() Rule { return packetType(unix.PACKET_OTHERHOST) }

func packetType(t byte) Rule {
	return append(Value([]byte{t}), &expr.Meta{Key: expr.MetaKeyPKTTYPE, SourceRegister: true, Register: 1})
}

// Verdicts.
func verdict(kind expr.VerdictKind, chain string) Rule {
	return Rule{&expr.Verdict{Kind: kind, Chain: chain}}
}

// Accept ends the chain's hook for the packet.
func Accept() Rule { return verdict(expr.VerdictAccept, "") }

// Drop ends the packet.
func Drop() Rule { return verdict(expr.VerdictDrop, "") }

// Goto goes on in another chain and does not come back.
func Goto(chain string) Rule { return verdict(expr.VerdictGoto, chain) }

// Counter counts packets.
func Counter() Rule { return Rule{&expr.Counter{}} }
