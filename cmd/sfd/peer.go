package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/image"
)

// peerKeyName is the file of the key by which other nodes know this one.
const peerKeyName = "peer-key.pem"

// Paths and times of the conversation between nodes.
const (
	renewingPath = "/peer/renewing"
	peerPatience = 2 * time.Second // for an answer that takes no work
	peersEvery   = 10 * time.Second
)

// peers is this node among others: TLS both ways, each key pinned by the fingerprint
// in its node's record. Who can write the store decides who is a node; there is no
// further authority.
type peers struct {
	name        string
	certificate tls.Certificate
	fingerprint string

	mu    sync.Mutex
	cloud *sf.Cloud
	known map[string]*sf.Node // as last read; it serves while the store is away
	ways  map[string]*http.Transport
}

// newPeers makes or reads the node's key.
func newPeers(c *config, name string) (*peers, error) {
	key, err := ownKey(c.path(peerKeyName), ", with which this machine is another node", func() (ed25519.PrivateKey, error) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	})
	if err != nil {
		return nil, err
	}
	p := &peers{name: name, known: map[string]*sf.Node{}, ways: map[string]*http.Transport{}}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // the key is what counts
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	p.certificate = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	p.fingerprint, err = fingerprint(der)
	return p, err
}

// fingerprint is the hash of a certificate's public key.
func fingerprint(der []byte) (string, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:]), nil
}

// follow keeps what is known of other nodes fresh until ctx is done.
func (p *peers) follow(ctx context.Context, cloud *sf.Cloud) {
	p.mu.Lock()
	p.cloud = cloud
	p.mu.Unlock()
	for ctx.Err() == nil {
		p.refresh(ctx)
		select {
		case <-time.After(peersEvery):
		case <-ctx.Done():
		}
	}
}

// refresh reads the nodes; while that is not possible what is known serves.
func (p *peers) refresh(ctx context.Context) {
	p.mu.Lock()
	cloud := p.cloud
	p.mu.Unlock()
	if cloud == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, peerPatience)
	defer cancel()
	nodes, err := cloud.Nodes(ctx)
	if err != nil {
		return
	}
	known := map[string]*sf.Node{}
	for _, n := range nodes {
		known[n.Name] = n
	}
	p.mu.Lock()
	p.known = known
	p.mu.Unlock()
}

// addresses are those of all nodes that are known.
func (p *peers) addresses() []netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []netip.Addr
	for _, n := range p.known {
		if a, err := netip.ParseAddr(n.Address); err == nil {
			all = append(all, a)
		}
	}
	return all
}

// ownMachines lists the nodes, as far as they are known at the moment, and the members of
// etcd: what these tell whoever asks from within their network is not for tenants' images.
func ownMachines(ctx context.Context, c *config, p *peers) func() []netip.Addr {
	members := c.etcd.addresses(ctx)
	return func() []netip.Addr {
		if p == nil {
			return members
		}
		return append(p.addresses(), members...)
	}
}

// node returns what is known of a node.
func (p *peers) node(ctx context.Context, name string) (*sf.Node, error) {
	for try := range 2 {
		p.mu.Lock()
		n := p.known[name]
		p.mu.Unlock()
		if n != nil && n.Peer != "" {
			return n, nil
		}
		if try == 0 {
			p.refresh(ctx)
		}
	}
	return nil, fmt.Errorf("node %s answers no other nodes: it has no --node-ip, or is not there", name)
}

// isPeer reports whether a key is one of the nodes'.
func (p *peers) isPeer(ctx context.Context, print string) bool {
	for try := range 2 {
		p.mu.Lock()
		for _, n := range p.known {
			if n.PeerKey == print {
				p.mu.Unlock()
				return true
			}
		}
		p.mu.Unlock()
		if try == 0 {
			p.refresh(ctx)
		}
	}
	return false
}

// serverTLS accepts nodes of the cloud and nobody else.
func (p *peers) serverTLS(ctx context.Context) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{p.certificate}, ClientAuth: tls.RequireAnyClientCert,
		NextProtos: []string{"http/1.1"}, // HTTP/2 has no upgrades to websockets
		VerifyConnection: func(s tls.ConnectionState) error {
			print, err := fingerprint(s.PeerCertificates[0].Raw)
			if err == nil && !p.isPeer(ctx, print) {
				err = errors.New("the caller is no node of this cloud")
			}
			return err
		},
	}
}

// To implements api.Relay.
func (p *peers) To(name string) (*url.URL, http.RoundTripper, error) {
	n, err := p.node(context.Background(), name)
	if err != nil {
		return nil, nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	way := n.Peer + " " + n.PeerKey
	if p.ways[way] == nil {
		p.ways[way] = &http.Transport{
			DialContext:         (&net.Dialer{Timeout: peerPatience}).DialContext,
			TLSHandshakeTimeout: peerPatience, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 8,
			TLSClientConfig: &tls.Config{
				MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{p.certificate},
				InsecureSkipVerify: true, // names prove nothing here; the key does
				VerifyConnection: func(s tls.ConnectionState) error {
					print, err := fingerprint(s.PeerCertificates[0].Raw)
					if err == nil && print != n.PeerKey {
						err = fmt.Errorf("who answers at %s is not node %s", n.Peer, name)
					}
					return err
				},
			},
		}
	}
	return &url.URL{Scheme: "https", Host: n.Peer}, p.ways[way], nil
}

// Node implements api.Relay.
func (p *peers) Node() string { return p.name }

// askAtOnce is how many nodes are asked at a time.
const askAtOnce = 64

// Renewing implements sf.Peers.
func (p *peers) Renewing(ctx context.Context, nodes []string) map[string]bool {
	ctx, cancel := context.WithTimeout(ctx, peerPatience)
	defer cancel()
	var all sync.WaitGroup
	var mu sync.Mutex
	answers := map[string]bool{}
	places := make(chan struct{}, askAtOnce)
	for _, name := range nodes {
		all.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			if renewing, err := p.renewing(ctx, name); err == nil {
				mu.Lock()
				defer mu.Unlock()
				answers[name] = renewing
			}
		})
	}
	all.Wait()
	return answers
}

func (p *peers) renewing(ctx context.Context, name string) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	base, way, err := p.To(name)
	if err != nil {
		return false, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath(renewingPath).String(), nil)
	if err != nil {
		return false, err
	}
	a, err := way.RoundTrip(r)
	if err != nil {
		return false, err
	}
	defer a.Body.Close()
	text, err := io.ReadAll(io.LimitReader(a.Body, 16))
	if err == nil && a.StatusCode != http.StatusOK {
		err = fmt.Errorf("node %s: %s", name, a.Status)
	}
	return string(text) == "true", err
}

// handler answers other nodes: their questions, for images too, and what they send
// on of the API.
func (p *peers) handler(cloud *sf.Cloud, images, api http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(image.LendingPath, images)
	mux.HandleFunc("GET "+renewingPath, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, cloud.Renewing())
	})
	mux.Handle("/", api)
	return mux
}
