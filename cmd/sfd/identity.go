package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"github.com/shakenfist/cloud/sf"
)

// Files of the data directory, beside the driver's and the image cache's own.
const (
	storeName    = "records.db"
	identityName = "identity.json"
	secretName   = "auth-secret"
	lockName     = "lock"
)

// identity is whose the machines and networks on this host are. It is remembered
// beside the records: an agent that opened other records by accident would take
// the host's machines for leftovers and destroy them.
type identity struct {
	Cloud string `json:"cloud"` // sf.Cloud.ID
	Node  string `json:"node"`
}

// tag is the identity as an ownership mark, at most 64 characters.
func (i identity) tag() string {
	if tag := i.Cloud + "/" + i.Node; len(tag) <= 64 {
		return tag
	}
	sum := sha256.Sum256([]byte(i.Node))
	return i.Cloud + "/" + hex.EncodeToString(sum[:10])
}

// readIdentity returns what is remembered; the zero identity at a first start.
func readIdentity(c *config) (identity, error) {
	var known identity
	path := c.path(identityName)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return known, nil
	}
	if err != nil {
		return known, err
	}
	if known, err = parseIdentity(c, data); err != nil {
		return known, err
	}
	if _, err := os.Stat(c.path(storeName)); !c.shared() && errors.Is(err, fs.ErrNotExist) {
		return known, fmt.Errorf("the records %s are missing, but this host's machines belong to cloud %s: restore that file from a backup, "+
			"or remove %s to begin a new cloud, which will not know those machines", c.path(storeName), known.Cloud, path)
	}
	return known, nil
}

func parseIdentity(c *config, data []byte) (known identity, err error) {
	if err := json.Unmarshal(data, &known); err != nil || known.Cloud == "" || known.Node == "" {
		return known, fmt.Errorf("%s is damaged: restore it from a backup of the data directory", c.path(identityName))
	}
	return known, nil
}

// nodeName decides what this machine is called: as configured, as remembered, or
// as the host is.
func nodeName(c *config, known identity, hostname string, log *slog.Logger) (string, error) {
	switch {
	case known.Node == "" && c.nodeName != "":
		return c.nodeName, nil
	case known.Node == "":
		if err := label(hostname); err != nil {
			return "", fmt.Errorf("the host's name %q cannot name the node (%w): use --node-name", hostname, err)
		}
		return hostname, nil
	case c.nodeName != "" && c.nodeName != known.Node:
		return "", fmt.Errorf("this machine is node %q of cloud %s, not %q: its instances are recorded under that name, so it cannot change; "+
			"unset --node-name or use another --data-dir", known.Node, known.Cloud, c.nodeName)
	case c.nodeName == "" && hostname != known.Node:
		log.Warn("the host's name changed; the node keeps its own", "node", known.Node, "hostname", hostname)
	}
	return known.Node, nil
}

// confirm holds the cloud that the records are of against the one remembered, and
// remembers it at a first start.
func (known identity) confirm(c *config, is identity) error {
	if known == is {
		return nil
	}
	if known.Cloud != "" && known.Cloud != is.Cloud {
		return fmt.Errorf("%s holds the records of cloud %s, but this host's machines belong to cloud %s (%s): going on would destroy them; "+
			"restore the records of that cloud, or remove %s if its machines may be given up",
			c.path(storeName), is.Cloud, known.Cloud, c.path(identityName), c.path(identityName))
	}
	data, err := json.MarshalIndent(is, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(c.path(identityName), append(data, '\n'))
}

// nameTaken refuses the name of another machine's node to one that has not been a node
// yet, before it is remembered here. (The cloud refuses it, too, to any other.)
func nameTaken(ctx context.Context, c *config, cloud *sf.Cloud, name string) error {
	if !c.nodeIP.IsValid() {
		return nil
	}
	nodes, err := cloud.Nodes(ctx)
	for _, n := range nodes {
		if n.Name == name && (n.Live || n.Used != sf.Capacity{}) {
			return fmt.Errorf("another machine, at %s, is node %s of this cloud: give this one another name (--node-name), or, if it was set up anew in "+
				"that one's place, recover or delete what that one has had and say `sf-client node remove %s` first", n.Address, name, name)
		}
	}
	return err
}

// authSecret returns what signs tokens, made at the first start.
func authSecret(c *config) ([]byte, error) {
	if c.authSecret != "" {
		return []byte(c.authSecret), nil
	}
	path := c.path(secretName)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		data = []byte(rand.Text() + rand.Text() + "\n") // 260 bits
		err = writeFile(path, data)
	}
	if err != nil {
		return nil, err
	}
	value, err := secret(strings.TrimSpace(string(data)))
	if err != nil {
		return nil, fmt.Errorf("%s is damaged (%w): remove it to have a new one made; clients log in again by themselves", path, err)
	}
	return []byte(value), nil
}
