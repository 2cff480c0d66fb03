package api

import "github.com/shakenfist/cloud/sf"

// description is what the document of the API says of a route besides what the table
// of routes does.
type description struct {
	id, summary string
	answer      any    // a value of its type
	needs       string // arguments that must be there
	query       string // names of parameters
	header      string
}

const inPages = "limit after fields" // the parameters of lists

// The types of some answers.
type (
	accessToken struct {
		AccessToken string `json:"access_token"`
	}
	health struct {
		Status string `json:"status"`
	}
	metadataAnswer = map[string]any
	names          = []string
)

var descriptions = map[string]description{
	"GET /{$}":          {id: "root", summary: "Say who is there", answer: media(typeText)},
	"GET /openapi.json": {id: "openAPI", summary: "This document", answer: tree{}},
	"GET /events":       {id: "followEvents", summary: "Follow what happens, as server-sent events", answer: media(typeEvents), query: "kind id after", header: "Last-Event-ID"},
	"GET /metrics":      {id: "metrics", summary: "Measurements in Prometheus' text format", answer: media(typeText)},
	"GET /healthz":      {id: "health", summary: "Whether this server can work", answer: health{}},
	"POST /auth":        {id: "authenticate", summary: "Exchange a key for a token", answer: accessToken{}, needs: "namespace key"},

	"GET /auth/namespaces":                             {id: "listNamespaces", summary: "Names of the namespaces that the caller may know of", answer: names{}, query: inPages},
	"POST /auth/namespaces":                            {id: "createNamespace", summary: "Make a namespace, or give one a key", answer: "", needs: "namespace"},
	"DELETE /auth/namespaces/{namespace}":              {id: "deleteNamespace", summary: "Delete an empty namespace"},
	"GET /auth/namespaces/{namespace}/keys":            {id: "listKeys", summary: "Names of a namespace's keys", answer: names{}, query: inPages},
	"POST /auth/namespaces/{namespace}/keys":           {id: "createKey", summary: "Add or replace a key", answer: "", needs: "key_name key"},
	"PUT /auth/namespaces/{namespace}/keys/{key_name}": {id: "replaceKey", summary: "Replace a key", answer: "", needs: "key"},

	"DELETE /auth/namespaces/{namespace}/keys/{key_name}": {id: "deleteKey", summary: "Delete a key, and end what was opened by it"},

	"GET /auth/namespaces/{namespace}/metadata":          {id: "getNamespaceMetadata", summary: "Metadata of a namespace", answer: metadataAnswer{}, header: "If-None-Match"},
	"POST /auth/namespaces/{namespace}/metadata":         {id: "postNamespaceMetadata", summary: "Set a namespace's metadata by key", needs: "key value"},
	"PUT /auth/namespaces/{namespace}/metadata/{key}":    {id: "putNamespaceMetadata", summary: "Set a namespace's metadata", needs: "value"},
	"DELETE /auth/namespaces/{namespace}/metadata/{key}": {id: "deleteNamespaceMetadata", summary: "Remove from a namespace's metadata"},

	"GET /networks":                                    {id: "listNetworks", summary: "Networks that the caller may know of", answer: []networkSummary{}, query: "all " + inPages},
	"POST /networks":                                   {id: "createNetwork", summary: "Make a network", answer: networkWire{}, needs: "netblock", query: "async", header: "Idempotency-Key"},
	"DELETE /networks":                                 {id: "deleteNetworks", summary: "Delete all networks of a namespace", answer: names{}, needs: "confirm", query: "async"},
	"GET /networks/{network_uuid}":                     {id: "getNetwork", summary: "A network", answer: networkWire{}, query: "wait version fields", header: "If-None-Match"},
	"DELETE /networks/{network_uuid}":                  {id: "deleteNetwork", summary: "Delete a network", query: "async"},
	"GET /networks/{network_uuid}/events":              {id: "networkEvents", summary: "What happened to a network", answer: []eventWire{}, query: inPages},
	"GET /networks/{network_uuid}/interfaces":          {id: "networkInterfaces", summary: "A network's interfaces", answer: []interfaceWire{}, query: inPages},
	"GET /networks/{network_uuid}/metadata":            {id: "getNetworkMetadata", summary: "Metadata of a network", answer: metadataAnswer{}, header: "If-None-Match"},
	"POST /networks/{network_uuid}/metadata":           {id: "postNetworkMetadata", summary: "Set a network's metadata by key", needs: "key value"},
	"PUT /networks/{network_uuid}/metadata/{key}":      {id: "putNetworkMetadata", summary: "Set a network's metadata", needs: "value"},
	"DELETE /networks/{network_uuid}/metadata/{key}":   {id: "deleteNetworkMetadata", summary: "Remove from a network's metadata"},
	"GET /instances":                                   {id: "listInstances", summary: "Instances that the caller may know of", answer: []instanceWire{}, query: "all " + inPages},
	"POST /instances":                                  {id: "createInstance", summary: "Make and start an instance, or with dry_run say where it would run", answer: either{instanceWire{}, placementWire{}}, needs: "name cpus memory disk", query: "async dry_run", header: "Idempotency-Key"},
	"DELETE /instances":                                {id: "deleteInstances", summary: "Delete all instances of a namespace", answer: names{}, needs: "confirm", query: "async"},
	"GET /instances/{instance_uuid}":                   {id: "getInstance", summary: "An instance", answer: instanceWire{}, query: "wait version fields", header: "If-None-Match"},
	"DELETE /instances/{instance_uuid}":                {id: "deleteInstance", summary: "Delete an instance", query: "async"},
	"GET /instances/{instance_uuid}/events":            {id: "instanceEvents", summary: "What happened to an instance", answer: []eventWire{}, query: inPages},
	"GET /instances/{instance_uuid}/interfaces":        {id: "instanceInterfaces", summary: "An instance's interfaces", answer: []interfaceWire{}, query: inPages},
	"GET /instances/{instance_uuid}/metadata":          {id: "getInstanceMetadata", summary: "Metadata of an instance", answer: metadataAnswer{}, header: "If-None-Match"},
	"POST /instances/{instance_uuid}/metadata":         {id: "postInstanceMetadata", summary: "Set an instance's metadata by key", needs: "key value"},
	"PUT /instances/{instance_uuid}/metadata/{key}":    {id: "putInstanceMetadata", summary: "Set an instance's metadata", needs: "value"},
	"DELETE /instances/{instance_uuid}/metadata/{key}": {id: "deleteInstanceMetadata", summary: "Remove from an instance's metadata"},

	"POST /instances/{instance_uuid}/poweron":                  {id: "powerOn", summary: "Start an instance", query: "async"},
	"POST /instances/{instance_uuid}/poweroff":                 {id: "powerOff", summary: "Pull an instance's plug", query: "async"},
	"POST /instances/{instance_uuid}/pause":                    {id: "pause", summary: "Pause an instance", query: "async"},
	"POST /instances/{instance_uuid}/unpause":                  {id: "unpause", summary: "Let an instance go on", query: "async"},
	"POST /instances/{instance_uuid}/reboot":                   {id: "reboot", summary: "Ask an instance to restart", answer: either{nil, operationWire{}}, query: "async"},
	"POST /instances/{instance_uuid}/rebootsoft":               {id: "rebootSoft", summary: "Ask an instance to restart", answer: either{nil, operationWire{}}, query: "async"},
	"POST /instances/{instance_uuid}/reboothard":               {id: "rebootHard", summary: "Reset an instance", answer: either{nil, operationWire{}}, query: "async"},
	"POST /instances/{instance_uuid}/recover":                  {id: "recoverInstance", summary: "Start an instance of a node that is gone on another, with new disks", answer: instanceWire{}, query: "async"},
	"GET /instances/{instance_uuid}/operations":                {id: "listOperations", summary: "Reboots and snapshots of an instance, the oldest first", answer: []operationWire{}, query: inPages},
	"GET /instances/{instance_uuid}/operations/{operation_id}": {id: "getOperation", summary: "An operation", answer: operationWire{}, query: "wait fields"},
	"GET /instances/{instance_uuid}/snapshot":                  {id: "instanceSnapshots", summary: "The copies of an instance's disks, the oldest first", answer: []copyWire{}, query: inPages},
	"POST /instances/{instance_uuid}/snapshot":                 {id: "createSnapshot", summary: "Copy the boot disk, or all disks", answer: "", query: "async"},
	"GET /instances/{instance_uuid}/consoledata":               {id: "consoleData", summary: "The end of an instance's console log", answer: media(typeText), query: "length"},
	"GET /instances/{instance_uuid}/console":                   {id: "console", summary: "An instance's serial console", answer: upgrade{}},
	"GET /instances/{instance_uuid}/vdi":                       {id: "display", summary: "An instance's screen, speaking VNC", answer: upgrade{}},

	"GET /snapshots":                          {id: "listSnapshots", summary: "Snapshots that the caller may know of, the oldest first", answer: []snapshotWire{}, query: inPages},
	"GET /snapshots/{snapshot_uuid}":          {id: "getSnapshot", summary: "A snapshot", answer: snapshotWire{}, query: "fields"},
	"DELETE /snapshots/{snapshot_uuid}":       {id: "deleteSnapshot", summary: "Delete a snapshot", query: "async"},
	"GET /snapshots/{snapshot_uuid}/{device}": {id: "downloadSnapshot", summary: "A disk of a snapshot, in qcow2", answer: media("application/octet-stream"), header: "Range If-None-Match"},

	"GET /images":               {id: "listImages", summary: "What is in the cache of the node that is asked", answer: []imageWire{}, query: inPages},
	"POST /images":              {id: "cacheImage", summary: "Fetch an image into the cache of the node that is asked", answer: withLines{nil}, needs: "url", query: "async", header: "Accept"},
	"GET /images/{image_id}":    {id: "getImage", summary: "An image in the cache", answer: imageWire{}, query: "fields"},
	"DELETE /images/{image_id}": {id: "deleteImage", summary: "Remove an image from the cache"},

	"GET /interfaces/{interface_uuid}":          {id: "getInterface", summary: "An interface", answer: interfaceWire{}, query: "fields"},
	"POST /interfaces/{interface_uuid}/float":   {id: "float", summary: "Give an interface a floating address"},
	"POST /interfaces/{interface_uuid}/defloat": {id: "defloat", summary: "Take an interface's floating address away"},

	"GET /nodes":                  {id: "listNodes", summary: "The nodes", answer: []nodeWire{}, query: inPages},
	"DELETE /nodes/{node}":        {id: "removeNode", summary: "Forget a node that will not return"},
	"POST /nodes/{node}/cordon":   {id: "cordonNode", summary: "Have a node take nothing new"},
	"POST /nodes/{node}/uncordon": {id: "uncordonNode", summary: "Have a node take new things again"},
	"POST /nodes/{node}/drain":    {id: "drainNode", summary: "Empty a node", answer: either{sf.Drained{}, nil}, query: "async"},
}

// parameters are those of the query by name, and of the header, whose names begin with
// a capital.
var parameters = map[string]struct{ kind, says string }{
	"limit":   {"integer", "The most records of the answer; a Link header leads to the next ones."},
	"after":   {"string", "Go on behind this record, or behind this place of the stream."},
	"fields":  {"string", "Only these members, with commas between."},
	"all":     {"boolean", "Also what is deleted or in error."},
	"async":   {"boolean", "Answer as soon as it is recorded, or begun, instead of when it is done."},
	"dry_run": {"boolean", "Make nothing; say where it would go."},
	"wait":    {"integer", "Seconds, at most 60, to wait for a change, or for the end of an operation."},
	"version": {"string", "The version that the caller knows, for wait."},
	"length":  {"integer", "The most bytes."},
	"kind":    {"string", "Kind of the object that id names."},
	"id":      {"string", "Only what happens to this object."},

	"Idempotency-Key": {"string", "Makes a repeated create return what the first one made."},
	"If-Match":        {"string", "Versions; at another one the answer is 412."},
	"If-None-Match":   {"string", "Versions; at one of them the answer is 304."},
	"Last-Event-ID":   {"string", "Go on behind this event."},
	"Range":           {"string", "The bytes that are wanted."},
	"Accept":          {"string", "application/x-ndjson to be told of progress."},
}
