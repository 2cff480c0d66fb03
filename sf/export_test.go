package sf

// The records that only this package knows, for the test of stored samples.
type (
	Identity     = identity
	Cordoned     = cordon
	Once         = once
	SharedSecret = sharedSecret
)
