package etcd

import (
	"context"
	"errors"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// tokens logs in with a password and adds the token to every call but that. The
// client's own way sends the old token along when it asks for a new one, which etcd 3.4
// refuses once the old one is stale, for ever.
type tokens struct {
	user     string
	password func() (string, error)

	mu    sync.Mutex
	token string // empty before the first login
	off   bool   // etcd does without authentication
}

// options make a connection use t; none without a user.
func (t *tokens) options() []grpc.DialOption {
	if t.user == "" {
		return nil
	}
	return []grpc.DialOption{
		grpc.WithPerRPCCredentials(t), grpc.WithChainUnaryInterceptor(t.unary), grpc.WithChainStreamInterceptor(t.stream),
	}
}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (t *tokens) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, _ := t.current()
	if info, _ := credentials.RequestInfoFromContext(ctx); token == "" || info.Method == pb.Auth_Authenticate_FullMethodName {
		return nil, nil
	}
	return map[string]string{rpctypes.TokenFieldNameGRPC: token}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials. Whether a password
// may go over plain HTTP is for the operator to say, by the endpoints.
func (t *tokens) RequireTransportSecurity() bool { return false }

func (t *tokens) current() (token string, usable bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.token, t.token != "" || t.off
}

// login replaces a token, unless somebody else just has.
func (t *tokens) login(ctx context.Context, cc *grpc.ClientConn, stale string) error {
	if token, usable := t.current(); usable && token != stale {
		return nil
	}
	password, err := t.password()
	if err != nil {
		return err
	}
	r, err := pb.NewAuthClient(cc).Authenticate(ctx, &pb.AuthenticateRequest{Name: t.user, Password: password})
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case errors.Is(rpctypes.Error(err), rpctypes.ErrAuthNotEnabled):
		t.token, t.off = "", true
		return nil
	case err != nil:
		return err
	}
	t.token, t.off = r.Token, false
	return nil
}

// unary logs in before the first call, and again where the token turns out to be
// stale. Who refuses a token has done nothing, so any call may then be repeated.
func (t *tokens) unary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if method == pb.Auth_Authenticate_FullMethodName {
		return invoke(ctx, method, req, reply, cc, opts...)
	}
	used, usable := t.current()
	if !usable {
		if err := t.login(ctx, cc, used); err != nil {
			return err
		}
		used, _ = t.current()
	}
	err := invoke(ctx, method, req, reply, cc, opts...)
	if !stale(err) {
		return err
	}
	if err := t.login(ctx, cc, used); err != nil {
		return err
	}
	return invoke(ctx, method, req, reply, cc, opts...)
}

// stream logs in anew for each stream, which would find out too late.
func (t *tokens) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	used, _ := t.current()
	if err := t.login(ctx, cc, used); err != nil {
		return nil, err
	}
	return open(ctx, desc, cc, method, opts...)
}

func stale(err error) bool {
	err = rpctypes.Error(err)
	return errors.Is(err, rpctypes.ErrInvalidAuthToken) || errors.Is(err, rpctypes.ErrAuthOldRevision) || errors.Is(err, rpctypes.ErrUserEmpty)
}
