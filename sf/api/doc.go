// Package api serves a cloud over HTTP: the REST API of Shaken Fist 0.2, so that
// its clients work unmodified, and a few additions that they do not notice.
//
// It is a codec. A request is authenticated, its arguments are decoded and
// checked for their types, one or two calls of [sf.Cloud] are made, and the
// records are encoded; what is right or wrong in a request is the cloud's to say.
// The routes are one table (routes.go), the errors another (errors.go), and
// docs/api.md describes both for people.
//
// Arguments come from the path and from a JSON body, for GET and DELETE too.
// Creates and deletes answer when the object has been made or is gone, unless
// the request says ?async=1. A caller that hangs up cancels nothing.
package api
