package api

import (
	"net/http"
	"path"
	"slices"
	"strings"
)

// access says who may use a route, and what is looked up before its handler runs.
type access int

const (
	anyone         access = iota
	caller                // whoever has a valid token
	admin                 // the system namespace; 401 for others
	member                // the namespace in the path, or system; 401 for others
	instanceOwner         // the namespace of the instance in the path, or system; 404 for others
	networkOwner          // the same for networks
	snapshotOwner         // and for snapshots
	interfaceOwner        // and for interfaces
)

// route is one method of one URL.
type route struct {
	method  string
	pattern string // of net/http, without the method
	access  access
	// args are the members that the body may have. Names of the path's arguments
	// are tolerated besides, and ignored: the path says what is meant.
	args   string
	handle func(*request) (any, error)
}

// routes is the whole API. What a handler returns is encoded as JSON, except
// for text, raw and streamed.
func routes() []route {
	const (
		get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete

		namespaces = "/auth/namespaces"
		namespace  = namespaces + "/{namespace}"
		networks   = "/networks"
		network    = networks + "/{network_uuid}"
		instances  = "/instances"
		instance   = instances + "/{instance_uuid}"
		snapshots  = "/snapshots"
		snapshot   = snapshots + "/{snapshot_uuid}"
		nic        = "/interfaces/{interface_uuid}"
		instArgs   = "name cpus memory network disk ssh_key user_data placed_on namespace instance_uuid video uefi metadata nvram_template secure_boot dry_run"
	)
	return []route{
		{get, "/{$}", anyone, "", (*request).root},
		{get, "/openapi.json", anyone, "", (*request).openAPI},
		{get, "/events", caller, "", (*request).follow},
		{get, "/metrics", admin, "", (*request).metrics},
		{get, "/healthz", anyone, "", (*request).healthz},
		{post, "/auth", anyone, "namespace key", (*request).auth},

		{get, namespaces, caller, "", (*request).listNamespaces},
		{post, namespaces, admin, "namespace key_name key", (*request).createNamespace},
		{del, namespace, admin, "", (*request).deleteNamespace},
		{get, namespace + "/keys", member, "", (*request).listKeys},
		{post, namespace + "/keys", admin, "key_name key", (*request).createKey},
		{put, namespace + "/keys/{key_name}", admin, "key", (*request).replaceKey},
		{del, namespace + "/keys/{key_name}", admin, "", (*request).deleteKey},
		{get, namespace + "/metadata", member, "", (*request).getMetadata},
		{post, namespace + "/metadata", admin, "key value", (*request).postMetadata},
		{put, namespace + "/metadata/{key}", admin, "value", (*request).putMetadata},
		{del, namespace + "/metadata/{key}", admin, "", (*request).deleteMetadata},

		{get, networks, caller, "all", (*request).listNetworks},
		{post, networks, caller, "netblock provide_dhcp provide_nat name namespace", (*request).createNetwork},
		{del, networks, caller, "confirm namespace", (*request).deleteNetworks},
		{get, network, networkOwner, "", (*request).getNetwork},
		{del, network, networkOwner, "", (*request).deleteNetwork},
		{get, network + "/events", networkOwner, "", (*request).events},
		{get, network + "/interfaces", networkOwner, "", (*request).networkInterfaces},
		{get, network + "/metadata", networkOwner, "", (*request).getMetadata},
		{post, network + "/metadata", networkOwner, "key value", (*request).postMetadata},
		{put, network + "/metadata/{key}", networkOwner, "value", (*request).putMetadata},
		{del, network + "/metadata/{key}", networkOwner, "", (*request).deleteMetadata},

		{get, instances, caller, "all", (*request).listInstances},
		{post, instances, caller, instArgs, (*request).createInstance},
		{del, instances, caller, "confirm namespace", (*request).deleteInstances},
		{get, instance, instanceOwner, "", (*request).getInstance},
		{del, instance, instanceOwner, "", (*request).deleteInstance},
		{get, instance + "/events", instanceOwner, "", (*request).events},
		{get, instance + "/interfaces", instanceOwner, "", (*request).instanceInterfaces},
		{get, instance + "/metadata", instanceOwner, "", (*request).getMetadata},
		{post, instance + "/metadata", instanceOwner, "key value", (*request).postMetadata},
		{put, instance + "/metadata/{key}", instanceOwner, "value", (*request).putMetadata},
		{del, instance + "/metadata/{key}", instanceOwner, "", (*request).deleteMetadata},
		{post, instance + "/poweron", instanceOwner, "", (*request).powerOn},
		{post, instance + "/poweroff", instanceOwner, "", (*request).powerOff},
		{post, instance + "/pause", instanceOwner, "", (*request).pause},
		{post, instance + "/unpause", instanceOwner, "", (*request).unpause},
		{post, instance + "/reboot", instanceOwner, "", (*request).rebootSoft},
		{post, instance + "/rebootsoft", instanceOwner, "", (*request).rebootSoft},
		{post, instance + "/reboothard", instanceOwner, "", (*request).rebootHard},
		{get, instance + "/operations", instanceOwner, "", (*request).listOperations},
		{get, instance + "/operations/{operation_id}", instanceOwner, "", (*request).getOperation},
		{get, instance + "/snapshot", instanceOwner, "", (*request).instanceSnapshots},
		{post, instance + "/snapshot", instanceOwner, "all", (*request).createSnapshot},
		{get, instance + "/consoledata", instanceOwner, "length", (*request).consoleData},
		{get, instance + "/console", instanceOwner, "", (*request).console},
		{get, instance + "/vdi", instanceOwner, "", (*request).display},

		{get, snapshots, caller, "", (*request).listSnapshots},
		{get, snapshot, snapshotOwner, "", (*request).getSnapshot},
		{del, snapshot, snapshotOwner, "", (*request).deleteSnapshot},
		{get, snapshot + "/{device}", snapshotOwner, "", (*request).download},

		{get, "/images", admin, "", (*request).listImages},
		{post, "/images", admin, "url", (*request).cacheImage},
		{get, "/images/{image_id}", admin, "", (*request).getImage},
		{del, "/images/{image_id}", admin, "", (*request).deleteImage},

		{get, nic, interfaceOwner, "", (*request).getInterface},
		{post, nic + "/float", interfaceOwner, "", (*request).float},
		{post, nic + "/defloat", interfaceOwner, "", (*request).defloat},
		{get, "/nodes", admin, "", (*request).listNodes},
		{del, "/nodes/{node}", admin, "", (*request).removeNode},
		{post, "/nodes/{node}/cordon", admin, "", (*request).cordonNode},
		{post, "/nodes/{node}/uncordon", admin, "", (*request).uncordonNode},
		{post, "/nodes/{node}/drain", admin, "recover ask", (*request).drainNode},
		{post, instance + "/recover", admin, "fenced", (*request).recoverInstance},
	}
}

// knows reports whether the body may have an argument.
func (rt *route) knows(arg string) bool {
	for known := range strings.FieldsSeq(rt.args) {
		if known == arg {
			return true
		}
	}
	return strings.Contains(rt.pattern, "{"+arg+"}")
}

// newMux serves the routes for s.
func newMux(s *server, table []route) *http.ServeMux {
	urls := map[string]methods{}
	for _, rt := range table {
		if urls[rt.pattern] == nil {
			urls[rt.pattern] = methods{}
		}
		urls[rt.pattern][rt.method] = &rt
	}
	mux := http.NewServeMux()
	for pattern, m := range urls {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, m) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, nil) })
	return mux
}

// methods are the routes of one URL, by method.
type methods map[string]*route

// find returns the route for a method. HEAD is GET without a body.
func (m methods) find(method string) *route {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	return m[method]
}

// allow is the value of the Allow header.
func (m methods) allow() string {
	var names []string
	for name := range m {
		names = append(names, name)
		if name == http.MethodGet {
			names = append(names, http.MethodHead)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// clean reports whether a path is written the one way that is served: no
// trailing slash, no "//" (but see single), no dots. Others are unknown URLs, not redirects.
func clean(p string) bool {
	return p == "/" || strings.HasPrefix(p, "/") && path.Clean(p) == p
}
