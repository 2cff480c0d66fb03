package api

import (
	"errors"
	"net/http"

	"github.com/shakenfist/cloud/sf/spec"
)

// serviceKey is the name of the key that the seed's nodes keep for themselves.
const serviceKey = "service_key"

// listNamespaces lists all namespaces, or the caller's own one.
func (q *request) listNamespaces() (any, error) {
	if !q.isAdmin() {
		return listed(q, []string{q.namespace}, func(n string) string { return n })
	}
	all, err := q.cloud.Namespaces(q.ctx())
	names := make([]string, 0, len(all))
	for _, ns := range all {
		names = append(names, ns.Name)
	}
	if err != nil {
		return nil, err
	}
	return listed(q, names, func(n string) string { return n })
}

// createNamespace makes a namespace, or gives an existing one another key.
func (q *request) createNamespace() (any, error) {
	name := q.args.text("namespace")
	if name == "" && q.args.err == nil {
		return nil, q.args.missing("no namespace specified")
	}
	keyName := q.args.text("key_name")
	if q.args.err != nil {
		return nil, q.args.err
	}
	if q.args.given("key") && !q.args.isText("key") {
		return nil, errKeyNotText
	}
	if keyName != "" {
		if err := q.checkKey(keyName); err != nil {
			return nil, err
		}
	}
	q.made = object{spec.KindNamespace, name}
	if err := q.cloud.CreateNamespace(q.lasting(), name); err != nil {
		return nil, err
	}
	if keyName != "" {
		if err := q.cloud.SetKey(q.lasting(), name, keyName, q.args.text("key")); err != nil {
			return nil, err
		}
	}
	return name, nil
}

var errKeyNotText = invalid("key is not a string")

// checkKey checks the arguments of a new key.
func (q *request) checkKey(name string) error {
	switch {
	case !q.args.given("key"):
		return q.args.missing("no key specified")
	case !q.args.isText("key"):
		return errKeyNotText
	case q.args.text("key") == "":
		return q.args.missing("no key specified")
	case name == serviceKey:
		return forbidden("illegal key name")
	}
	return nil
}

func (q *request) deleteNamespace() (any, error) {
	name := q.path("namespace")
	if name == spec.System {
		return nil, forbidden("you cannot delete the system namespace")
	}
	err := q.cloud.DeleteNamespace(q.lasting(), name)
	switch {
	case errors.Is(err, spec.ErrNotFound):
		return nil, nil // as in the seed, which is what makes a second try safe
	case errors.Is(err, spec.ErrInUse):
		return nil, &fault{http.StatusBadRequest, spec.ErrInUse, err.Error()} // not 403, as in the seed
	}
	return nil, err
}

// namespaceOfPath returns the namespace that the path names.
func (q *request) namespaceOfPath() (*spec.Namespace, error) {
	ns, err := q.cloud.Namespace(q.ctx(), q.path("namespace"))
	return ns, or(err, errNoNamespace)
}

func (q *request) listKeys() (any, error) {
	ns, err := q.namespaceOfPath()
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(ns.Keys))
	for _, k := range ns.Keys {
		names = append(names, k.Name)
	}
	return listed(q, names, func(n string) string { return n })
}

func (q *request) createKey() (any, error) {
	name := q.args.text("key_name")
	if q.args.err != nil {
		return nil, q.args.err
	}
	if name == "" {
		return nil, q.args.missing("no key name specified")
	}
	return q.setKey(name)
}

func (q *request) replaceKey() (any, error) {
	ns, err := q.namespaceOfPath()
	if err != nil {
		return nil, err
	}
	name := q.path("key_name")
	if !hasKey(ns, name) {
		return nil, notFound("key does not exist")
	}
	return q.setKey(name)
}

func (q *request) setKey(name string) (any, error) {
	q.made = q.keyOf(name)
	if err := q.checkKey(name); err != nil {
		return nil, err
	}
	ns, err := q.namespaceOfPath()
	if err != nil {
		return nil, err
	}
	return name, or(q.cloud.SetKey(q.lasting(), ns.Name, name, q.args.text("key")), errNoNamespace)
}

// keyOf names a key of the namespace in the path for the audit.
func (q *request) keyOf(name string) object { return object{"key", q.path("namespace") + "/" + name} }

func (q *request) deleteKey() (any, error) {
	ns, err := q.namespaceOfPath()
	if err != nil {
		return nil, err
	}
	missing := notFound("key name not found in namespace")
	name := q.path("key_name")
	q.made = q.keyOf(name)
	if !hasKey(ns, name) {
		return nil, missing
	}
	return nil, or(q.cloud.DeleteKey(q.lasting(), ns.Name, name), missing)
}

func hasKey(ns *spec.Namespace, name string) bool {
	for _, k := range ns.Keys {
		if k.Name == name {
			return true
		}
	}
	return false
}
