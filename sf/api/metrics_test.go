package api

import (
	"bufio"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	sampleLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-z]+="(?:[^"\\\n]|\\.)*",?)+\})? (\S+)$`)
	typeLine   = regexp.MustCompile(`^# TYPE (\S+) (counter|gauge|histogram)$`)
)

// TestMetrics checks the text format and that requests are counted where they belong.
func TestMetrics(t *testing.T) {
	c := withObjects(t)
	c.server.Gauges = func() []Gauge { return []Gauge{{"cpu_max", `of the "host"`, 2}} }
	one := concrete(c, "/instances/{instance_uuid}")
	c.wants("demo", "GET "+one, "", 200, "")
	c.wants("demo", "GET "+one, "", 200, "")
	c.wants("other", "GET "+one, "", 404, "")
	c.wants("demo", "GET /nowhere", "", 404, "")
	c.wants("demo", "GET /metrics", "", 401, "unauthorized")
	text := c.wants("system", "GET /metrics", "", 200, "")
	values, families := map[string]float64{}, map[string]string{}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		if m := typeLine.FindStringSubmatch(line); m != nil {
			if families[m[1]] != "" {
				t.Errorf("%s is introduced twice", m[1])
			}
			families[m[1]] = m[2]
			continue
		}
		if strings.HasPrefix(line, "# HELP ") {
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("not in the format: %q", line)
		}
		family := m[1]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if f := strings.TrimSuffix(family, suffix); families[f] == "histogram" {
				family = f
			}
		}
		v, err := strconv.ParseFloat(m[3], 64)
		if _, twice := values[m[1]+m[2]]; err != nil || families[family] == "" || twice {
			t.Errorf("%q: %v, twice: %v, its family: %q", line, err, twice, families[family])
		}
		values[m[1]+m[2]] = v
	}
	for name, want := range map[string]float64{
		"cpu_max":                    2,
		"sf_api_requests_in_flight":  1,
		`sf_node_live{node="node1"}`: 1,
		`sf_api_requests_total{route="GET /instances/{instance_uuid}",status="2xx"}`:       2,
		`sf_api_requests_total{route="GET /instances/{instance_uuid}",status="4xx"}`:       1,
		`sf_api_requests_total{route="other",status="4xx"}`:                                1,
		`sf_api_request_seconds_count{route="GET /instances/{instance_uuid}"}`:             3,
		`sf_api_request_seconds_bucket{route="GET /instances/{instance_uuid}",le="0.001"}`: 3,
		`sf_api_request_seconds_bucket{route="GET /instances/{instance_uuid}",le="+Inf"}`:  3,
	} {
		if got, ok := values[name]; !ok || got != want {
			t.Errorf("%s is %v (there: %v), want %v", name, got, ok, want)
		}
	}
}
