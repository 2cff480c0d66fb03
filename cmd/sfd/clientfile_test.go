package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/client"
	"github.com/shakenfist/cloud/sf/sftest"
)

const here = "http://127.0.0.1:13000"

// TestClientFile follows the client file through its life.
func TestClientFile(t *testing.T) {
	cloud, ctx := sftest.New(t), sftest.Context(t)
	c := defaults()
	c.clientFile = filepath.Join(t.TempDir(), "sf", "shakenfist.json")
	provide := func(url string) (client.Config, error) {
		err := provideClientFile(ctx, cloud.Cloud, c, reached{url: url}, discard)
		f, _ := client.ReadFile(c.clientFile)
		return f, err
	}
	works := func(f client.Config) bool {
		_, err := cloud.Authenticate(ctx, f.Namespace, f.Key)
		return err == nil
	}
	first, err := provide(here)
	if err != nil || first.Namespace != sf.System || first.URL != here || !works(first) {
		t.Fatalf("first start: %+v, %v", first, err)
	}
	info, err := os.Stat(c.clientFile)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	if again, err := provide(here); err != nil || again.Key != first.Key || again.URL != first.URL {
		t.Errorf("later starts keep it: %+v, %v", again, err)
	}
	moved, err := provide("http://127.0.0.1:1")
	if err != nil || moved.Key != first.Key || moved.URL != "http://127.0.0.1:1" {
		t.Errorf("another port: %+v, %v", moved, err)
	}
	if err := os.Remove(c.clientFile); err != nil {
		t.Fatal(err)
	}
	fresh, err := provide(here)
	if err != nil || fresh.Key == first.Key || !works(fresh) || works(first) {
		t.Errorf("a removed file comes with a new key, and the old one ends: %+v, %v", fresh, err)
	}
	if err := cloud.DeleteKey(ctx, sf.System, "deploy"); err != nil {
		t.Fatal(err)
	}
	if renewed, err := provide(here); err != nil || renewed.Key == fresh.Key || !works(renewed) {
		t.Errorf("a file for us whose key is not ours: %+v, %v", renewed, err)
	}
	if err := os.WriteFile(c.clientFile, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := provide(here); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("a damaged file: %v", err)
	}
}

// TestForeignClientFile holds that a file for another cloud is never touched.
func TestForeignClientFile(t *testing.T) {
	cloud, ctx := sftest.New(t), sftest.Context(t)
	c := defaults()
	c.clientFile = filepath.Join(t.TempDir(), "shakenfist.json")
	foreign := client.Config{Namespace: sf.System, Key: "theirs", URL: "http://elsewhere:13000"}
	if err := client.WriteFile(c.clientFile, foreign); err != nil {
		t.Fatal(err)
	}
	err := provideClientFile(ctx, cloud.Cloud, c, reached{url: here}, discard)
	if err == nil || !strings.Contains(err.Error(), "--client-file") {
		t.Errorf("with nowhere for the first key: %v", err)
	}
	if _, err := cloud.Authenticate(ctx, sf.System, "theirs"); !errors.Is(err, sf.ErrUnauthorized) {
		t.Errorf("their key works here: %v", err)
	}
	if err := cloud.SetKey(ctx, sf.System, "deploy", "ours"); err != nil {
		t.Fatal(err)
	}
	if err := provideClientFile(ctx, cloud.Cloud, c, reached{url: here}, discard); err != nil {
		t.Errorf("with a key already handed out: %v", err)
	}
	if f, err := client.ReadFile(c.clientFile); err != nil || f.Key != foreign.Key || f.URL != foreign.URL {
		t.Errorf("the file is %+v now, %v", f, err)
	}
}
