package api

import (
	"errors"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/shakenfist/cloud/sf/spec"
)

// claims of a token: those of the seed, and the key that it was made for. The
// nonce changes with the key, so the token dies with it.
type claims struct {
	IssuedAt  int64  `json:"iat"`
	NotBefore int64  `json:"nbf"`
	JTI       string `json:"jti"`
	Expires   int64  `json:"exp"`
	Identity  string `json:"identity"` // namespace
	Fresh     bool   `json:"fresh"`
	Type      string `json:"type"`
	Key       string `json:"key"`
	Nonce     string `json:"nonce"`
}

func date(unix int64) (*jwt.NumericDate, error) {
	if unix == 0 {
		return nil, nil
	}
	return jwt.NewNumericDate(time.Unix(unix, 0)), nil
}

// The methods of jwt.Claims.

func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return date(c.Expires) }
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error)       { return date(c.IssuedAt) }
func (c *claims) GetNotBefore() (*jwt.NumericDate, error)      { return date(c.NotBefore) }
func (c *claims) GetIssuer() (string, error)                   { return "", nil }
func (c *claims) GetSubject() (string, error)                  { return "", nil }
func (c *claims) GetAudience() (jwt.ClaimStrings, error)       { return nil, nil }

// tokens makes and checks tokens. It remembers the ones it has checked: their
// signature does not change, only the time does.
type tokens struct {
	secret []byte
	life   time.Duration
	now    func() time.Time
	newID  func() string
	parser *jwt.Parser
	known  *memory[*claims]
}

func newTokens(cfg Config) *tokens {
	return &tokens{
		secret: cfg.Secret,
		life:   cfg.TokenLife,
		now:    cfg.Now,
		newID:  cfg.NewID,
		parser: jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithTimeFunc(cfg.Now), jwt.WithExpirationRequired()),
		known:  newMemory[*claims](4096),
	}
}

// issue makes a token for a key of a namespace.
func (t *tokens) issue(namespace string, key *spec.Key) (string, error) {
	now := t.now().Unix()
	return jwt.NewWithClaims(jwt.SigningMethodHS256, &claims{
		IssuedAt: now, NotBefore: now, JTI: t.newID(), Expires: now + int64(t.life/time.Second),
		Identity: namespace, Type: "access", Key: key.Name, Nonce: key.Nonce,
	}).SignedString(t.secret)
}

// verify returns what a token claims. The errors have the seed's texts.
func (t *tokens) verify(token string) (*claims, error) {
	if c, ok := t.known.get(token); ok {
		if t.now().Unix() >= c.Expires {
			t.known.forget(token)
			return nil, unauthorized("Signature has expired")
		}
		return c, nil
	}
	c := new(claims)
	_, err := t.parser.ParseWithClaims(token, c, func(*jwt.Token) (any, error) { return t.secret, nil })
	switch {
	case err == nil:
	case errors.Is(err, jwt.ErrTokenExpired):
		return nil, unauthorized("Signature has expired")
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return nil, unauthorized("The token is not yet valid (nbf)")
	default:
		return nil, unauthorized("invalid JWT in Authorization header")
	}
	if c.Type != "access" {
		return nil, unauthorized("Only access tokens are allowed")
	}
	t.known.put(token, c)
	return c, nil
}
