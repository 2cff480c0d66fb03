package api

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/shakenfist/cloud/sf/spec"
)

// Gauge is a value of the host or of the process for /metrics, see Config.Gauges.
type Gauge struct {
	Name  string // as Prometheus has it, with the unit where the original's names have one
	Help  string
	Value float64
}

// latencies are the upper bounds of the histogram of answers, in seconds.
var latencies = [...]float64{0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10, 60, 600}

// meter counts requests. Labels are the route and the status's hundreds, so that
// their number does not grow with use.
type meter struct {
	mu       sync.Mutex
	inFlight int
	routes   map[string]*counts // by method and pattern; "other" is what no route has
}

type counts struct {
	statuses [6]int64 // by hundreds
	buckets  [len(latencies)]int64
	seconds  float64
}

func newMeter() *meter { return &meter{routes: map[string]*counts{}} }

func (m *meter) begin() {
	m.mu.Lock()
	m.inFlight++
	m.mu.Unlock()
}

func (m *meter) end(rt *route, status int, took time.Duration) {
	name := "other"
	if rt != nil {
		name = rt.method + " " + strings.TrimSuffix(rt.pattern, "{$}")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inFlight--
	c := m.routes[name]
	if c == nil {
		c = new(counts)
		m.routes[name] = c
	}
	c.statuses[min(max(status/100, 0), 5)]++
	c.seconds += took.Seconds()
	for i, most := range latencies {
		if took.Seconds() <= most {
			c.buckets[i]++
			break
		}
	}
}

// typeMetrics is the type of Prometheus' text format.
const typeMetrics = "text/plain; version=0.0.4; charset=utf-8"

// metrics answers in the text format of Prometheus.
func (q *request) metrics() (any, error) {
	q.w.Header().Set("Cache-Control", "no-store")
	q.write(http.StatusOK, typeMetrics, q.expose(q.ctx()))
	return streamed(http.StatusOK), nil
}

// Metrics returns a handler that shows anyone what GET /metrics of an API shows to
// system. The API is what New returned.
func Metrics(api http.Handler) http.Handler {
	s := api.(*server)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", typeMetrics)
		w.Write(s.expose(r.Context())) // an error means that the caller has gone
	})
}

// expose measures everything. What cannot be had now is left out: somebody wants to
// see the rest then most of all.
func (s *server) expose(ctx context.Context) []byte {
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	var out exposition
	if s.Gauges != nil {
		for _, g := range s.Gauges() {
			out.gauge(g.Name, g.Help, g.Value)
		}
	}
	stats := s.cloud.Stats()
	out.store(stats.Store)
	out.gauge("sf_records_cached", "decoded records that are kept", float64(stats.Records.Entries))
	out.gauge("sf_records_cached_bytes", "bytes of their texts", float64(stats.Records.Bytes))
	if stats.Node != nil {
		out.node(stats.Node)
		if images, err := s.cloud.Images(ctx); err == nil {
			out.images(images)
		}
	}
	nodes, err := s.cloud.Nodes(ctx)
	out.gauge("sf_store_answers", "whether the store answered just now", truth(err == nil))
	if err == nil {
		out.nodes(nodes)
		out.invariants(nodes)
	}
	s.meter.write(&out)
	return out.Bytes()
}

// exposition writes the text format.
type exposition struct{ bytes.Buffer }

func (x *exposition) family(name, kind, help string) {
	if help != "" {
		fmt.Fprintf(x, "# HELP %s %s\n", name, strings.NewReplacer("\\", `\\`, "\n", `\n`).Replace(help))
	}
	fmt.Fprintf(x, "# TYPE %s %s\n", name, kind)
}

// sample writes a value; labels are as labelled makes them.
func (x *exposition) sample(name, labels string, value float64) {
	fmt.Fprintf(x, "%s%s %s\n", name, labels, strconv.FormatFloat(value, 'g', -1, 64))
}

// labelled makes labels of names and values in turn.
func labelled(pairs ...string) string {
	var parts []string
	for i := 0; i+1 < len(pairs); i += 2 {
		value := strings.NewReplacer("\\", `\\`, "\n", `\n`, `"`, `\"`).Replace(pairs[i+1])
		parts = append(parts, pairs[i]+`="`+value+`"`)
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// nodes writes what the nodes have and have promised.
func (x *exposition) nodes(nodes []*spec.Node) {
	for _, f := range []struct {
		name, help string
		value      func(*spec.Node) float64
	}{
		{"sf_node_live", "whether the node's agent holds its session", func(n *spec.Node) float64 { return truth(n.Live) }},
		{"sf_node_cordoned", "whether the node takes nothing new", func(n *spec.Node) float64 { return truth(n.Cordoned) }},
		{"sf_node_instances", "instances placed on the node", func(n *spec.Node) float64 { return float64(n.Used.Instances) }},
		{"sf_node_vcpus_used", "virtual CPUs that its instances claim", func(n *spec.Node) float64 { return float64(n.Used.CPUs) }},
		{"sf_node_vcpus_limit", "virtual CPUs that instances may claim", func(n *spec.Node) float64 { return float64(n.Limits.CPUs) }},
		{"sf_node_memory_used_mib", "memory that its instances claim", func(n *spec.Node) float64 { return float64(n.Used.MemoryMiB) }},
		{"sf_node_memory_limit_mib", "memory that instances may claim", func(n *spec.Node) float64 { return float64(n.Limits.MemoryMiB) }},
		{"sf_node_disk_used_gib", "disk that its instances claim", func(n *spec.Node) float64 { return float64(n.Used.DiskGB) }},
		{"sf_node_disk_limit_gib", "disk that instances may claim", func(n *spec.Node) float64 { return float64(n.Limits.DiskGB) }},
	} {
		x.family(f.name, "gauge", f.help)
		for _, n := range nodes {
			x.sample(f.name, labelled("node", n.Name), f.value(n))
		}
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// write writes the counters of requests.
func (m *meter) write(x *exposition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := make([]string, 0, len(m.routes))
	for name := range m.routes {
		names = append(names, name)
	}
	slices.Sort(names)
	x.family("sf_api_requests_in_flight", "gauge", "requests being answered, this one among them")
	x.sample("sf_api_requests_in_flight", "", float64(m.inFlight))
	x.family("sf_api_requests_total", "counter", "requests answered, by route and hundreds of the status")
	for _, name := range names {
		for hundreds, n := range m.routes[name].statuses {
			if n > 0 {
				x.sample("sf_api_requests_total", labelled("route", name, "status", strconv.Itoa(hundreds)+"xx"), float64(n))
			}
		}
	}
	const seconds = "sf_api_request_seconds"
	x.family(seconds, "histogram", "time that answers took, waits included")
	for _, name := range names {
		m.routes[name].write(x, seconds, name)
	}
}

func (c *counts) write(x *exposition, family, name string) {
	var total, sum int64
	for _, n := range c.statuses {
		total += n
	}
	for i, most := range latencies {
		sum += c.buckets[i]
		x.sample(family+"_bucket", labelled("route", name, "le", strconv.FormatFloat(most, 'g', -1, 64)), float64(sum))
	}
	x.sample(family+"_bucket", labelled("route", name, "le", "+Inf"), float64(total))
	x.sample(family+"_sum", labelled("route", name), c.seconds)
	x.sample(family+"_count", labelled("route", name), float64(total))
}
