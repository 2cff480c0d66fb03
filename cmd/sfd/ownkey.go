package main

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// ownKey reads a private key of this node's, or makes one where there is no file.
// then is what follows, beside a new key, from removing a damaged one.
func ownKey[K crypto.Signer](path, then string, generate func() (K, error)) (key K, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if key, err = generate(); err != nil {
			return key, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return key, err
		}
		return key, writeFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	if err != nil {
		return key, err
	}
	why := errors.New("no key is in it")
	if block, _ := pem.Decode(text); block != nil {
		found, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if key, ok := found.(K); ok && err == nil {
			return key, nil
		}
		if why = err; err == nil {
			why = fmt.Errorf("a %T is in it", found)
		}
	}
	return key, fmt.Errorf("%s is damaged (%w): restore it from a backup, or remove it to have a new key made%s", path, why, then)
}
