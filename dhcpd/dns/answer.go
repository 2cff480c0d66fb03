package dns

import (
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// Verdict says what is to be done with a query.
type Verdict int

// Verdicts.
const (
	Ignored   Verdict = iota // no query: there is no reply
	Answered                 // with the reply
	Forwarded                // to be asked upstream: there is no reply yet
)

// ttl is for how many seconds clients may keep an answer. Short, since an instance
// that is made anew may have another address.
const ttl = 5

// Answer answers a query where the table knows, or is sure that nobody does. It
// is a pure function. Replies are below 512 bytes but for names with dozens of
// addresses, of which as many are told as fit.
func (t *Table) Answer(query []byte) (reply []byte, v Verdict) {
	var p dnsmessage.Parser
	header, err := p.Start(query)
	if err != nil || header.Response {
		return nil, Ignored
	}
	questions, err := p.AllQuestions()
	switch {
	case header.OpCode != 0:
		return refuse(header, nil, dnsmessage.RCodeNotImplemented), Answered
	case err != nil || len(questions) != 1:
		return refuse(header, nil, dnsmessage.RCodeFormatError), Answered
	}
	q := questions[0]
	if q.Class != dnsmessage.ClassINET {
		return refuse(header, &q, dnsmessage.RCodeRefused), Answered
	}
	if q.Type == dnsmessage.TypeAXFR || q.Type == dnsmessage.Type(251) { // IXFR
		return refuse(header, &q, dnsmessage.RCodeRefused), Answered
	}
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	if addr, ok := reverse(name); ok && t.prefix.Contains(addr) {
		return t.pointer(header, q, t.addrs[addr]), Answered
	}
	addrs, known := t.names[name]
	known = known || name == t.network && name != "" && !about(q.Type)
	if !known {
		if t.own(name, q.Type) {
			return refuse(header, &q, dnsmessage.RCodeNameError), Answered
		}
		return nil, Forwarded
	}
	return build(header, &q, dnsmessage.RCodeSuccess, func(b *dnsmessage.Builder) error {
		if q.Type != dnsmessage.TypeA && q.Type != dnsmessage.TypeALL {
			return nil // the name exists, and has none of these
		}
		for _, a := range addrs[:min(len(addrs), 24)] {
			if err := b.AResource(resource(q), dnsmessage.AResource{A: a.As4()}); err != nil {
				return err
			}
		}
		return nil
	}), Answered
}

// pointer answers a reverse name; no name means that the address has none.
func (t *Table) pointer(header dnsmessage.Header, q dnsmessage.Question, name string) []byte {
	if name == "" {
		return refuse(header, &q, dnsmessage.RCodeNameError)
	}
	return build(header, &q, dnsmessage.RCodeSuccess, func(b *dnsmessage.Builder) error {
		target, err := dnsmessage.NewName(name + ".")
		if err != nil || q.Type != dnsmessage.TypePTR && q.Type != dnsmessage.TypeALL {
			return err
		}
		return b.PTRResource(resource(q), dnsmessage.PTRResource{PTR: target})
	})
}

func resource(q dnsmessage.Question) dnsmessage.ResourceHeader {
	return dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: ttl}
}

// refuse is a reply without answers.
func refuse(header dnsmessage.Header, q *dnsmessage.Question, code dnsmessage.RCode) []byte {
	return build(header, q, code, func(*dnsmessage.Builder) error { return nil })
}

// build makes a reply. What cannot be encoded is a server's failure.
func build(header dnsmessage.Header, q *dnsmessage.Question, code dnsmessage.RCode, answers func(*dnsmessage.Builder) error) []byte {
	h := dnsmessage.Header{
		ID: header.ID, Response: true, OpCode: header.OpCode, Authoritative: code == dnsmessage.RCodeSuccess || code == dnsmessage.RCodeNameError,
		RecursionDesired: header.RecursionDesired, RecursionAvailable: true, RCode: code,
	}
	b := dnsmessage.NewBuilder(make([]byte, 0, 512), h)
	b.EnableCompression()
	err := b.StartQuestions()
	if err == nil && q != nil {
		err = b.Question(*q)
	}
	if err == nil {
		err = b.StartAnswers()
	}
	if err == nil {
		err = answers(&b)
	}
	reply, finishErr := b.Finish()
	if err != nil || finishErr != nil {
		h.RCode, h.Authoritative = dnsmessage.RCodeServerFailure, false
		b = dnsmessage.NewBuilder(nil, h)
		reply, _ = b.Finish() // a header alone always fits
	}
	return reply
}

// failure is the reply to a query that nobody answered.
func failure(query []byte) []byte {
	var p dnsmessage.Parser
	header, err := p.Start(query)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return refuse(header, nil, dnsmessage.RCodeServerFailure)
	}
	return refuse(header, &q, dnsmessage.RCodeServerFailure)
}

// answers reports whether a message is the reply to a query: its ID and its
// question are the same.
func answers(query, reply []byte) bool {
	var a, b dnsmessage.Parser
	asked, err := a.Start(query)
	if err != nil {
		return false
	}
	header, err := b.Start(reply)
	if err != nil || !header.Response || header.ID != asked.ID {
		return false
	}
	q, err := a.Question()
	if err != nil {
		return false
	}
	back, err := b.Question()
	return err == nil && q.Type == back.Type && q.Class == back.Class && strings.EqualFold(q.Name.String(), back.Name.String())
}
