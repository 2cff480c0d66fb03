package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/shakenfist/cloud/store"
)

// checkEndpoints refuses what the client would take for something else.
func checkEndpoints(c Config) error {
	if len(c.Endpoints) == 0 {
		return fmt.Errorf("%w: no endpoints: name the members of the cluster", store.ErrInvalid)
	}
	schemes := map[string]bool{}
	for _, e := range c.Endpoints {
		u, err := url.Parse(e)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("%w: endpoint %q: want http://HOST:2379, or https:// with TLS", store.ErrInvalid, e)
		}
		schemes[u.Scheme] = true
	}
	switch {
	case len(schemes) > 1:
		return fmt.Errorf("%w: endpoints with http and with https: it must be the same for all", store.ErrInvalid)
	case schemes["http"] && c.TLS != nil:
		return fmt.Errorf("%w: certificates, but endpoints with http: say https", store.ErrInvalid)
	case (c.Username == "") != (c.Password == "" && c.Secret == nil):
		return fmt.Errorf("%w: a user and a password belong together", store.ErrInvalid)
	}
	return nil
}

// why says what is the matter with a cluster that could not be opened: the reason of
// each member that does not answer, or what to do about an error.
func why(ctx context.Context, c Config, err error) error {
	switch {
	case errors.Is(err, ErrNoAnswer):
		var all []string
		for _, e := range c.Endpoints {
			all = append(all, e+": "+probe(ctx, c, e))
		}
		return fmt.Errorf("%w: %s", err, strings.Join(all, "; "))
	case errors.Is(err, rpctypes.ErrAuthFailed):
		return fmt.Errorf("%w: wrong user %q or password", err, c.Username)
	case errors.Is(err, rpctypes.ErrUserEmpty):
		return fmt.Errorf("%w: it asks for a user and a password", err)
	case errors.Is(err, rpctypes.ErrPermissionDenied):
		return fmt.Errorf("%w: user %q needs a role that reads and writes the prefix %q", err, c.Username, c.Prefix)
	}
	return err
}

// probe asks a member for its version, which it tells without its cluster, and says
// how that went.
func probe(ctx context.Context, c Config, endpoint string) string {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	err := version(ctx, endpoint, c.TLS)
	switch {
	case err == nil:
		return "it is there, but has no leader"
	case !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET):
		return err.Error()
	}
	// It hung up at the first word: perhaps it speaks the other language.
	if host, plain := strings.CutPrefix(endpoint, "http://"); plain {
		conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(ctx, "tcp", host)
		if err == nil {
			conn.Close()
			return "it speaks TLS: say https"
		}
	} else if version(ctx, "http"+strings.TrimPrefix(endpoint, "https"), nil) == nil {
		return "it does not speak TLS: say http"
	}
	return err.Error()
}

func version(ctx context.Context, endpoint string, t *tls.Config) error {
	client := http.Client{Transport: &http.Transport{TLSClientConfig: t.Clone(), DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(endpoint, "/")+"/version", nil)
	if err != nil {
		return err
	}
	r, err := client.Do(request)
	if e := (*url.Error)(nil); errors.As(err, &e) {
		return e.Err
	}
	if err != nil {
		return err
	}
	r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("it is no etcd: %s", r.Status)
	}
	return nil
}
