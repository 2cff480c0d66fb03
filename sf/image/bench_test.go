package image

import (
	"testing"

	"github.com/shakenfist/cloud/driver"
)

// What an instance's disks cost once its image is cached: an overlay and a
// config drive, durable.
func BenchmarkBuild(b *testing.B) {
	l, _, raw, _ := newLocal(b, testConfig())
	volumes := []driver.Volume{
		{Device: "vda", Size: 8 << 30, Image: raw.ID}, {Device: "vdb", Content: make([]byte, 400<<10)},
	}
	for b.Loop() {
		if _, err := l.Build(b.Context(), uuid1, volumes); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		l.Remove(b.Context(), uuid1)
		b.StartTimer()
	}
}

// An image that is cached, the origin asked whether it is still the same.
func BenchmarkFetchCached(b *testing.B) {
	l, web, _, _ := newLocal(b, testConfig())
	for b.Loop() {
		if _, err := l.Fetch(b.Context(), trusted(web.URL+"/raw"), nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDownload(b *testing.B) {
	c := newTestCache(b, testConfig())
	web := newWeb(b)
	body := rawImage(64 << 20)
	web.put("/i", body)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		image, err := c.Fetch(b.Context(), trusted(web.URL+"/i"), nil)
		if err != nil {
			b.Fatal(err)
		}
		c.Remove(image.ID)
	}
}
