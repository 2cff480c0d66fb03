package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/client"
)

// keyCommands are for root who has lost the keys: they need no API.
var keyCommands = []*command{
	{name: "key list", args: []string{"[NAMESPACE]"}, does: "prints the names of a namespace's keys, by default of system", run: listKeys},
	{name: "key set", args: []string{"NAMESPACE", "NAME"}, does: "gives a namespace a key, or another secret to one it has", run: setKey,
		more: "The secret is a random one, which is printed, unless --secret-file or --write-client-file says\n" +
			"where it comes from or goes. Tokens that were got with an earlier secret are void at once.",
		options: []option{
			{"secret-file", "", "FILE", "", "file with the secret, at most 72 bytes; /dev/stdin too",
				text(func(c *config) *string { return &c.secretFile }, present)},
			{"write-client-file", "", "", "", "write the key to the client file (--client-file) for sf-client, over whatever is there",
				func(c *config, v string) (err error) { c.writeClient, err = boolean(v); return }},
		}},
	{name: "key delete", args: []string{"NAMESPACE", "NAME"}, does: "takes a key from a namespace, and with it all tokens got by it", run: deleteKey},
}

func keysPath(namespace, name string) string {
	return adminKeys + "?" + url.Values{"namespace": {namespace}, "name": {name}}.Encode()
}

func listKeys(ctx context.Context, c *config, call *call) error {
	var names []string
	if err := ask(ctx, c, http.MethodGet, keysPath(call.arg(0, sf.System), ""), "", &names); err != nil {
		return fmt.Errorf("key list: %w", err)
	}
	for _, name := range names {
		fmt.Fprintln(call.stdout, name)
	}
	return nil
}

func setKey(ctx context.Context, c *config, call *call) error {
	secret, err := newSecret(c)
	if err != nil {
		return fmt.Errorf("key set: %w", err)
	}
	namespace, name := call.args[0], call.args[1]
	var file client.Config
	if err := ask(ctx, c, http.MethodPut, keysPath(namespace, name), secret, &file); err != nil {
		return fmt.Errorf("key set: %w", err)
	}
	call.log.Info("set a key", "namespace", namespace, "key_name", name)
	if c.writeClient {
		if err := os.MkdirAll(filepath.Dir(c.clientFile), 0o755); err != nil {
			return fmt.Errorf("key set: the key is set, but there is no client file: %w", err)
		}
		if err := writeClientFile(c.clientFile, client.Config{Namespace: namespace, Key: secret, URL: file.URL, Fingerprint: file.Fingerprint}); err != nil {
			return fmt.Errorf("key set: the key is set, but: %w", err)
		}
		call.log.Info("wrote the client file", "client_file", c.clientFile, "apiurl", file.URL)
	} else if c.secretFile == "" {
		fmt.Fprintln(call.stdout, secret)
	}
	return nil
}

// newSecret is the one in a file, without the end of its line, or a random one.
func newSecret(c *config) (string, error) {
	if c.secretFile == "" {
		return rand.Text() + rand.Text(), nil
	}
	data, err := os.ReadFile(c.secretFile)
	if err != nil {
		return "", fmt.Errorf("--secret-file: %w", err)
	}
	return strings.TrimRight(string(data), "\r\n"), nil
}

func deleteKey(ctx context.Context, c *config, call *call) error {
	namespace, name := call.args[0], call.args[1]
	if err := ask(ctx, c, http.MethodDelete, keysPath(namespace, name), "", new(any)); err != nil {
		return fmt.Errorf("key delete: %w", err)
	}
	call.log.Info("deleted a key", "namespace", namespace, "key_name", name)
	return nil
}

// ask reaches the records for one question.
func ask(ctx context.Context, c *config, method, path, body string, to any) error {
	l, err := reach(ctx, c)
	if err != nil {
		return err
	}
	return errors.Join(l.do(ctx, method, path, strings.NewReader(body), to), l.Close())
}

func (a *admin) listKeys(r *http.Request) ([]string, error) {
	namespace := r.URL.Query().Get("namespace")
	n, err := a.cloud.Namespace(r.Context(), namespace)
	if err != nil {
		return nil, a.explain(r, err)
	}
	names := []string{}
	for _, k := range n.Keys {
		names = append(names, k.Name)
	}
	return names, nil
}

// setKey answers with where the API is that takes the key.
func (a *admin) setKey(r *http.Request) (where client.Config, err error) {
	var secret strings.Builder
	if _, err := io.Copy(&secret, io.LimitReader(r.Body, 4096)); err != nil {
		return where, err
	}
	namespace, name := r.URL.Query().Get("namespace"), r.URL.Query().Get("name")
	if err := a.cloud.SetKey(r.Context(), namespace, name, secret.String()); err != nil {
		return where, a.explain(r, err)
	}
	a.log.Info("root set a key", "namespace", namespace, "key_name", name)
	return client.Config{URL: a.at.url, Fingerprint: a.at.fingerprint}, nil
}

func (a *admin) deleteKey(r *http.Request) (any, error) {
	namespace, name := r.URL.Query().Get("namespace"), r.URL.Query().Get("name")
	if err := a.cloud.DeleteKey(r.Context(), namespace, name); err != nil {
		return nil, a.explain(r, err)
	}
	a.log.Info("root deleted a key", "namespace", namespace, "key_name", name)
	return nil, nil
}

// explain adds to an error about a namespace that does not exist which ones do, and to
// one about a key which the namespace has.
func (a *admin) explain(r *http.Request, err error) error {
	if !errors.Is(err, sf.ErrNotFound) {
		return err
	}
	all, e := a.cloud.Namespaces(r.Context())
	if e != nil {
		return errors.Join(err, e)
	}
	namespace := r.URL.Query().Get("namespace")
	var names, keys []string
	known := false
	for _, n := range all {
		names = append(names, n.Name)
		if n.Name == namespace {
			known = true
			for _, k := range n.Keys {
				keys = append(keys, k.Name)
			}
		}
	}
	slices.Sort(names)
	if known {
		return fmt.Errorf("namespace %s has no key %q; it has %s", namespace, r.URL.Query().Get("name"), orNone(keys))
	}
	return fmt.Errorf("there is no namespace %q; there is %s", namespace, strings.Join(names, ", "))
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
