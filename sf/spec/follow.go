package spec

// FollowOptions says which events to follow, and from where. The zero value is
// every event of the cloud, beginning with those that are kept.
type FollowOptions struct {
	Kind   Kind   // with Object: the events of one object
	Object string // its UUID or name; empty is all objects
	// After is the position of the last batch that was seen; 0 begins with what is
	// kept, a negative one with what comes: then the first batch has no events and
	// says from where.
	After int64
}

// EventBatch is what one commit recorded, or a piece of the past.
type EventBatch struct {
	// Position is a place in the cloud's history that lasts, over restarts too: to
	// go on behind the batch, pass it as After. It is 0 in the middle of the past,
	// where there is no place to go on from.
	Position int64
	// Events in the order in which they were recorded; those of the past are in
	// order for each object. An event that repeats itself comes again with a higher
	// Count. There are none in a batch that only brings a new position.
	Events []*Event
	// Gap: so much has happened since After that some of it may be forgotten. What
	// is still kept follows.
	Gap bool
}
