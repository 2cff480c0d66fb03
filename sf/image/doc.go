// Package image brings disk images to a host and lays instances' disks over them.
//
// A Source resolves a reference (a URL, or a shorthand such as "cirros:0.5.1")
// and opens its bytes at any offset; HTTP is the one for the web. A Cache holds
// what a Source gave: downloaded once however many callers ask, resumed after a
// break or a crash, verified, decompressed, inspected before anything else opens
// it, and then kept read-only under the hash of its content. Local is a
// driver.Volumes over a Cache: each instance has a directory with a thin overlay
// per disk.
//
// Caches of several hosts lend each other what they have (CacheConfig.Neighbour,
// Cache.ServeHTTP): the origin says what is current, a neighbour sends it, its hash
// proves it. When the origin does not answer, a neighbour's old image is as good as
// one's own.
//
// Local also keeps snapshots (driver.Snapshots): copies of disks beyond the life
// of their instance, which can be an image again by the name of
// "snapshot:UUID/DEVICE"; and it shows and tends the cache (driver.Images).
//
// # What a stranger's bytes may do
//
// References come from tenants and bytes from anywhere. Addresses are checked
// when a connection is made, redirects included, so that a tenant cannot reach
// the host or its link. Formats are recognised by content and stated from then
// on, never guessed again. An image that names another file, is encrypted, or
// grows beyond the limits is refused. Errors that no retry can mend are
// ErrPermanent.
//
// # On disk
//
//	images/<id>.qcow2|.raw|.iso   read-only; the ID is the SHA-256 of the content,
//	                              or of the name of a snapshot, which never changes
//	urls/<hash>.json              what a URL gave: validators, checksums, image ID
//	names/<hash>.json             what a reference resolved to
//	partial/<hash>, <hash>.json   a download under way, and how much of it is safe
//	tmp/                          work in progress, emptied when the Cache is opened
//
// Only a rename brings a file into images, or the link to a finished snapshot.
// One process at a time may have a cache directory open.
package image
