package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOwnKey holds that a key is made once, for its owner's eyes, and that one which cannot be
// read is an error in one line that says what to do; a new key in its place would be another node's.
func TestOwnKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	ed := func() (ed25519.PrivateKey, error) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	one, err := ownKey(path, "", ed)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("its mode is %v, %v", st.Mode(), err)
	}
	if two, err := ownKey(path, "", ed); err != nil || !one.Equal(two) {
		t.Errorf("read again it is another, %v", err)
	}
	_, err = ownKey(path, "; and then", func() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) })
	damaged(t, err, path, "a ed25519.PrivateKey is in it", "remove it to have a new key made; and then")
	for text, want := range map[string]string{
		"":     "no key is in it",
		"junk": "no key is in it",
		"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n": "asn1",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := ownKey(path, "", ed)
		damaged(t, err, path, want, "remove it to have a new key made")
	}
}

func damaged(t *testing.T, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("a damaged key is taken")
	}
	for _, w := range append(want, "is damaged") {
		if !strings.Contains(err.Error(), w) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: want one line with %q", err, w)
		}
	}
}
