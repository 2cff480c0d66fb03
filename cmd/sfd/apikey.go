package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"
)

// Files of a key that signs its own certificate. The certificate is for whoever
// wants to trust it by file; the key is what clients know the server by.
const (
	apiKeyName  = "api-key.pem"
	apiCertName = "api-cert.pem"
)

// selfSigned returns the paths of a certificate for the names and addresses by which
// this host is called, and of its key. Both are made where they are missing; the
// certificate also where it lacks a name, with the same key.
func selfSigned(c *config) (certFile, keyFile string, err error) {
	certFile, keyFile = c.path(apiCertName), c.path(apiKeyName)
	key, err := ownKey(keyFile, "; clients then need its fingerprint", func() (*ecdsa.PrivateKey, error) {
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) // a curve that browsers know
	})
	if err != nil {
		return "", "", err
	}
	template, err := certificateFor(c.apiAddress)
	if err != nil {
		return "", "", err
	}
	if covers(certFile, template, key) {
		return certFile, keyFile, nil
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return "", "", err
	}
	return certFile, keyFile, writeFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// certificateFor is a certificate for an address that the API listens on, and for the
// host's names.
func certificateFor(listens netip.Addr) (*x509.Certificate, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: host}, DNSNames: []string{host, "localhost"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // the key is what counts
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return nil, err
	}
	for _, a := range addressesOf(listens) {
		template.IPAddresses = append(template.IPAddresses, a.AsSlice())
	}
	return template, nil
}

// addressesOf returns the addresses at which one that is listened on is reached:
// itself, or all of this host's.
func addressesOf(listens netip.Addr) []netip.Addr {
	if !listens.IsUnspecified() {
		return []netip.Addr{listens}
	}
	var list []netip.Addr
	have, _ := net.InterfaceAddrs() // whatever is left out can be reached by fingerprint
	for _, a := range have {
		if p, err := netip.ParsePrefix(a.String()); err == nil && (listens.Is6() || p.Addr().Is4()) && !p.Addr().IsLinkLocalUnicast() {
			list = append(list, p.Addr())
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return list
}

// covers reports whether a certificate is there that is the key's, and for everything
// that a wanted one is for.
func covers(path string, want *x509.Certificate, key *ecdsa.PrivateKey) bool {
	text, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return false
	}
	have, err := x509.ParseCertificate(block.Bytes)
	if err != nil || !key.PublicKey.Equal(have.PublicKey) {
		return false
	}
	for _, name := range want.DNSNames {
		if have.VerifyHostname(name) != nil {
			return false
		}
	}
	for _, ip := range want.IPAddresses {
		if have.VerifyHostname(ip.String()) != nil {
			return false
		}
	}
	return true
}

// readPair reads a certificate and its key, and returns them with their fingerprint.
func readPair(certFile, keyFile string) (*tls.Certificate, string, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, "", err
	}
	print, err := fingerprint(pair.Certificate[0])
	return &pair, print, err
}
