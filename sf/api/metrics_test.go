package api

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/sf/sftest"
	"github.com/shakenfist/cloud/sf/spec"
)

// TestMetrics checks the text format and that requests are counted where they belong.
func TestMetrics(t *testing.T) {
	c := withObjects(t)
	c.server.Gauges = func() []Gauge { return []Gauge{{"cpu_max", "of the \"host\"\\\n", 2}} }
	one := concrete(c, "/instances/{instance_uuid}")
	c.wants("demo", "GET "+one, "", 200, "")
	c.wants("demo", "GET "+one, "", 200, "")
	c.wants("other", "GET "+one, "", 404, "")
	c.wants("demo", "GET /nowhere", "", 404, "")
	c.wants("demo", "GET /metrics", "", 401, "unauthorized")
	expect(t, c.wants("system", "GET /metrics", "", 200, ""), map[string]float64{
		"cpu_max":                    2,
		"sf_api_requests_in_flight":  1,
		`sf_node_live{node="node1"}`: 1,
		`sf_api_requests_total{route="GET /instances/{instance_uuid}",status="2xx"}`:       2,
		`sf_api_requests_total{route="GET /instances/{instance_uuid}",status="4xx"}`:       1,
		`sf_api_requests_total{route="other",status="4xx"}`:                                1,
		`sf_api_request_seconds_count{route="GET /instances/{instance_uuid}"}`:             3,
		`sf_api_request_seconds_bucket{route="GET /instances/{instance_uuid}",le="0.001"}`: 3,
		`sf_api_request_seconds_bucket{route="GET /instances/{instance_uuid}",le="+Inf"}`:  3,
	})
}

// expect holds a text against the format and some of its values.
func expect(t *testing.T, text string, want map[string]float64) map[string]float64 {
	t.Helper()
	values, wrong := promtext(text)
	for _, w := range wrong {
		t.Error(w)
	}
	for name, want := range want {
		if got, ok := values[name]; !ok || got != want {
			t.Errorf("%s is %v (there: %v), want %v", name, got, ok, want)
		}
	}
	return values
}

// TestMetricsOfCloud measures a cloud that has done something, by the handler that
// asks nobody who they are.
func TestMetricsOfCloud(t *testing.T) {
	cloud, ctx := sftest.New(t), sftest.Context(t)
	i, err := cloud.CreateInstance(ctx, sf.System, spec.InstanceSpec{Name: "vm1", CPUs: 1, MemoryMiB: 256, Disks: []spec.Disk{{SizeGB: 1, Base: "cirros"}}})
	if err == nil {
		_, err = cloud.WaitInstance(ctx, i.UUID, sf.InstanceCreated)
	}
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	Metrics(New(cloud.Cloud, Config{})).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 || w.Header().Get("Content-Type") != typeMetrics {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	values := expect(t, w.Body.String(), map[string]float64{
		"sf_images_cached": 1, "sf_images_fetching": 0, "sf_store_answers": 1, "sf_store_failures_total": 0, "sf_reconcile_failing": 0,
		`sf_invariant_broken{node="node1",invariant="a ledger is not negative"}`: 0,
		`sf_node_instances{node="node1"}`:                                        1,
	})
	for _, name := range []string{"sf_store_commit_seconds_count", "sf_store_watches", "sf_store_watch_events_total", "sf_records_cached_bytes", "sf_images_cached_bytes",
		`sf_reconcile_seconds_count{kind="instance"}`} {
		if values[name] <= 0 {
			t.Errorf("%s is %v", name, values[name])
		}
	}
	if _, ok := values[`sf_queue_keys{queue="work",state="later"}`]; !ok {
		t.Error("queues are missing")
	}
}

// TestMetricsWithoutStore holds that there are measurements when they are needed most.
func TestMetricsWithoutStore(t *testing.T) {
	c := withObjects(t)
	c.server.cloud.(*fakeCloud).faults["Nodes"] = spec.Errorf(spec.ErrUnavailable, "away")
	w := httptest.NewRecorder()
	Metrics(c.server).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	values := expect(t, w.Body.String(), map[string]float64{"sf_store_answers": 0, "sf_store_gets_total": 7})
	for name := range values {
		if strings.HasPrefix(name, "sf_node_live") {
			t.Errorf("%s, of nodes that nobody knows", name)
		}
	}
}

// TestBroken holds that each invariant can break.
func TestBroken(t *testing.T) {
	limits := spec.Capacity{CPUs: 4, MemoryMiB: 4, DiskGB: 4, Instances: 4}
	for want, used := range map[string]spec.Capacity{
		"":                            {CPUs: 4, MemoryMiB: 4, Instances: 4},
		"a ledger is not negative":    {CPUs: 1, MemoryMiB: -1, Instances: 1},
		"an empty node has no claims": {CPUs: 1},
		"claims are within limits":    {CPUs: 5, MemoryMiB: 1, Instances: 1},
	} {
		for what, is := range broken(&spec.Node{Used: used, Limits: limits}) {
			if is != (what == want) {
				t.Errorf("used %+v: %q broken: %v", used, what, is)
			}
		}
	}
}

// TestPromtext holds that the checker sees what is wrong.
func TestPromtext(t *testing.T) {
	const head = "# HELP a_total x\n# TYPE a_total counter\n"
	const hist = "# HELP h x\n# TYPE h histogram\n"
	for _, text := range []string{
		"a_total 1\n", head + "a_total 1", head + "a_total 1\na_total 1\n", head + "b 1\n", head + "a_total x\n", head + head, "# TYPE a_total counter\n",
		head + "a_total{b=\"\"c\"} 1\n", "# HELP a x\n# TYPE a counter\na 1\n", "# HELP a_total x\n# TYPE a_total gauge\na_total 1\n",
		hist + "h_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n", hist + "h_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 2\n", hist + "h_bucket{le=\"1\"} 1\nh_sum 1\nh_count 1\n", hist + "h_most 1\n",
	} {
		if _, wrong := promtext(text); len(wrong) == 0 {
			t.Errorf("nothing wrong with %q", text)
		}
	}
	good := head + "a_total{b=\"c\\\"\"} 1\n" + hist + "h_bucket{k=\"v\",le=\"1\"} 1\nh_bucket{k=\"v\",le=\"+Inf\"} 2\nh_sum{k=\"v\"} 1\nh_count{k=\"v\"} 2\n"
	if _, wrong := promtext(good); len(wrong) > 0 {
		t.Errorf("%q: %v", good, wrong)
	}
}
