package client

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"

	"github.com/shakenfist/cloud/sf/spec"
)

// transport returns a way to a server whose certificate, or whose key, has the given
// SHA-256 fingerprint, whoever signed the certificate and for what name. Without one
// it trusts the authorities that the system trusts.
func transport(fingerprint string) (http.RoundTripper, error) {
	if fingerprint == "" {
		return http.DefaultTransport, nil
	}
	want, err := parseFingerprint(fingerprint)
	if err != nil {
		return nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // the fingerprint proves more than a name does
		VerifyConnection:   func(s tls.ConnectionState) error { return checkFingerprint(s.PeerCertificates[0], want) },
	}
	return t, nil
}

// parseFingerprint reads 32 bytes in hexadecimal, as they are printed with colons
// or without.
func parseFingerprint(s string) (string, error) {
	plain := strings.ToLower(strings.NewReplacer(":", "", " ", "").Replace(s))
	if b, err := hex.DecodeString(plain); err != nil || len(b) != sha256.Size {
		return "", spec.Errorf(spec.ErrInvalid, "fingerprint %q is not a SHA-256 sum: want 64 hexadecimal digits", s)
	}
	return plain, nil
}

// strangerError is the refusal of a server that is not the one that was meant.
type strangerError struct{ error *spec.Error }

func (e strangerError) Error() string { return e.error.Error() }
func (e strangerError) Unwrap() error { return e.error }

// checkFingerprint holds a certificate against a fingerprint: of its key, which a
// renewed certificate may keep, or of itself, which is what other programs print.
func checkFingerprint(c *x509.Certificate, want string) error {
	key, whole := sha256.Sum256(c.RawSubjectPublicKeyInfo), sha256.Sum256(c.Raw)
	has := hex.EncodeToString(key[:])
	if want == has || want == hex.EncodeToString(whole[:]) {
		return nil
	}
	return strangerError{spec.Errorf(spec.ErrInvalid, "the server's key has the fingerprint %s, but expected is %s: it is another server, or one with a new key; "+
		"nothing was sent. If its operator says that %s is right, put that into the client file as \"fingerprint\", or into SHAKENFIST_API_FINGERPRINT",
		has, want, has)}
}

// hint is what to do about a connection that could not be made, "" where that is
// nobody's fault.
func hint(err error) string {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case errors.As(err, &authority):
		return " (if it signed its certificate itself, give its fingerprint, which its log and its client file have)"
	case errors.As(err, &name):
		return " (use a name that its certificate has, or give its fingerprint, which its log and its client file have)"
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return " (it does not speak TLS: say http:// in the API URL)"
	}
	return ""
}
