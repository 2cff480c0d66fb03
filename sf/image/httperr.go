package image

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// transportError classifies what kept a response from coming. Messages of the
// url package are taken apart, since they repeat the URL with its secrets.
func transportError(op, ref string, err error) error {
	var u *url.Error
	for errors.As(err, &u) {
		err = u.Err
	}
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	switch {
	case errors.Is(err, ErrForbidden):
		return fail(op, ref, err, "use a public address, or ask an administrator to fetch the image")
	case errors.As(err, &cert):
		return permanent(op, ref, err, "the server's certificate is not trusted by this host; install its CA or use another mirror")
	case errors.Is(err, errRedirect):
		return permanent(op, ref, err, "use the final URL")
	case errors.As(err, &dns) && dns.IsNotFound:
		return fail(op, ref, fmt.Errorf("host %q does not exist: %w", dns.Name, err), "check its spelling and this host's name servers")
	}
	return fail(op, ref, err, "check that the server is reachable from this host")
}

// statusError is a response that is not the image.
func statusError(op, ref string, resp *http.Response) error {
	err := fmt.Errorf("the server says %q", resp.Status)
	switch code := resp.StatusCode; {
	case code == http.StatusNotFound || code == http.StatusGone:
		return permanent(op, ref, fmt.Errorf("%w: %w", errGone, err), "check the URL in a browser")
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return permanent(op, ref, fmt.Errorf("%w: %w", ErrDenied, err), "put credentials into the URL (https://user:password@host/...) or use a signed one")
	case code == http.StatusRequestTimeout || code == http.StatusTooEarly || code == http.StatusTooManyRequests || code >= 500:
		return fail(op, ref, err, "")
	}
	return permanent(op, ref, err, "check the URL in a browser")
}

// errGone: the origin says that there is no such file.
var errGone = errors.New("no such image")

// watchdog cancels a request whose server is silent for too long.
type watchdog struct {
	idle   time.Duration
	timer  *time.Timer
	ctx    context.Context
	cancel context.CancelCauseFunc
}

var errIdle = errors.New("the server is silent")

func newWatchdog(ctx context.Context, idle time.Duration) (context.Context, *watchdog) {
	w := &watchdog{idle: idle}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(idle, func() { w.cancel(fmt.Errorf("%w for %v", errIdle, idle)) })
	return w.ctx, w
}

func (w *watchdog) stop() {
	w.timer.Stop()
	w.cancel(nil)
}

// explain replaces the error of a request that the watchdog ended.
func (w *watchdog) explain(err error) error {
	if cause := context.Cause(w.ctx); err != nil && errors.Is(cause, errIdle) {
		return cause
	}
	return err
}

// watchedBody is a response's body. Only time spent waiting for bytes counts, not
// what its reader does in between.
type watchedBody struct {
	io.ReadCloser
	watch *watchdog
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.watch.timer.Reset(b.watch.idle)
	n, err := b.ReadCloser.Read(p)
	b.watch.timer.Stop()
	if err != nil && err != io.EOF {
		err = b.watch.explain(err)
	}
	return n, err
}

func (b *watchedBody) Close() error {
	b.watch.stop()
	return b.ReadCloser.Close()
}
