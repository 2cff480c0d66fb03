package netfab

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// TapName returns the name of a port's tap: "t" and 13 hex digits of the hash of
// the port's ID, which fits the 15 bytes of an interface name. (Of the hash, so
// that IDs which are alike at their beginning give different names.)
func TapName(portID string) string {
	sum := sha256.Sum256([]byte(portID))
	return "t" + hex.EncodeToString(sum[:])[:13]
}

// ShortTag returns 6 hex digits that stand for an ownership tag in names. Names
// alone prove nothing: what carries one must carry the whole tag too.
func ShortTag(tag string) string {
	sum := sha256.Sum256([]byte(tag))
	return hex.EncodeToString(sum[:])[:6]
}

// NamespaceName returns the name of the namespace of the network with that VNI:
// "sf-1a2b3c-00002a".
func NamespaceName(tag string, vni uint32) string {
	return fmt.Sprintf("sf-%s-%06x", ShortTag(tag), vni)
}
