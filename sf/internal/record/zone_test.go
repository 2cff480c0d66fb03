package record

import (
	"testing"
	"time"
)

// Times are written in UTC, however deep they are and of whatever zone, and what a caller
// gave stays as it was: one moment that two nodes write is one value when it is read.
func TestTimesAreInUTC(t *testing.T) {
	type times struct {
		At    time.Time    `json:"at"`
		Ptr   *time.Time   `json:"ptr"`
		None  *time.Time   `json:"none"`
		List  []time.Time  `json:"list"`
		Ptrs  []*time.Time `json:"ptrs"`
		Inner struct {
			At time.Time `json:"at"`
		} `json:"inner"`
		Text string `json:"text"`
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600))
	v := times{At: at, Ptr: &at, List: []time.Time{at}, Ptrs: []*time.Time{&at}, Text: "2026-01-02T03:04:05+01:00"}
	v.Inner.At = at
	for name, value := range map[string]any{"value": v, "pointer": &v} {
		text, err := encode(value, nil, "id")
		if err != nil {
			t.Fatal(err)
		}
		const utc = `"2026-01-02T02:04:05.000000006Z"`
		want := `{"~commit":"id","~born":"id","at":` + utc + `,"ptr":` + utc + `,"none":null,"list":[` + utc + `],"ptrs":[` + utc + `],"inner":{"at":` + utc + `},"text":"2026-01-02T03:04:05+01:00"}`
		if string(text) != want {
			t.Errorf("%s: %s, want %s", name, text, want)
		}
	}
	for _, kept := range []time.Time{at, v.At, *v.Ptr, v.List[0], *v.Ptrs[0], v.Inner.At} {
		if _, offset := kept.Zone(); offset != 3600 {
			t.Errorf("the caller's own is %v now", kept)
		}
	}
}
