package image_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/shakenfist/cloud/driver"
	"github.com/shakenfist/cloud/sf/image"
)

// A machine's disk is laid over an image from the web. Doing it again costs
// nothing: the image is cached and the disk is kept.
func Example() {
	// A web server with a disk image of 1 MiB.
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Unix(1, 0), bytes.NewReader(make([]byte, 1<<20)))
	}))
	defer web.Close()
	data, err := os.MkdirTemp("", "shakenfist-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(data)

	cache, err := image.NewCache(filepath.Join(data, "image_cache"), image.CacheConfig{Source: image.NewHTTP(image.HTTPConfig{})})
	if err != nil {
		log.Fatal(err)
	}
	volumes, err := image.NewLocal(filepath.Join(data, "instances"), image.LocalConfig{Cache: cache})
	if err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	const id = "6f0c3e0e-8d5c-4a0f-9f5e-3c1c5f6a7b8c"
	for range 2 {
		// Trusted, because the server is on this host.
		img, err := volumes.Fetch(ctx, driver.ImageRef{Name: web.URL + "/disk.img", Trusted: true}, nil)
		if err != nil {
			log.Fatal(err)
		}
		disks, err := volumes.Build(ctx, id, []driver.Volume{{Device: "vda", Bus: "virtio", Size: 8 << 30, Image: img.ID}})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(img.Format, img.VirtualSize, filepath.Base(disks[0].Path), disks[0].Format)
	}
	// Output:
	// raw 1048576 vda.qcow2 qcow2
	// raw 1048576 vda.qcow2 qcow2
}

// Errors tell whether trying again makes sense.
func ExampleErrPermanent() {
	source := image.NewHTTP(image.HTTPConfig{})
	_, err := source.Resolve(context.Background(), driver.ImageRef{Name: "http://127.0.0.1/secrets"})
	fmt.Println(errors.Is(err, image.ErrPermanent), err)
	// Output:
	// true resolve image http://127.0.0.1/secrets: dial tcp 127.0.0.1:80: address not allowed: 127.0.0.1 is loopback; use a public address, or ask an administrator to fetch the image
}
