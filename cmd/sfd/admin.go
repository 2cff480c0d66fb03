package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/shakenfist/cloud/sf"
	"github.com/shakenfist/cloud/store"
	"github.com/shakenfist/cloud/store/archive"
)

// adminSocket is where a running sfd, which alone can open the records in its data
// directory, lets root at them.
const adminSocket = "admin.sock"

// What root can ask for there, over HTTP.
const (
	adminBackup  = "/backup"
	adminKeys    = "/keys"    // ?namespace=NAME&name=NAME
	adminRecords = "/records" // of a doctor.Ask
)

// admin is what root may do with a cloud's records, whoever has them open.
type admin struct {
	store store.Store
	cloud *sf.Cloud
	at    reached
	log   *slog.Logger
}

func (a *admin) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+adminBackup, a.backup)
	mux.HandleFunc("GET "+adminKeys, answer(a.listKeys))
	mux.HandleFunc("PUT "+adminKeys, answer(a.setKey))
	mux.HandleFunc("DELETE "+adminKeys, answer(a.deleteKey))
	mux.HandleFunc("POST "+adminRecords, answer(a.records))
	return mux
}

// answer sends what a function returns: its value, or its error in words.
func answer[T any](fn func(*http.Request) (T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		value, err := fn(r)
		var body any = value
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			body = err.Error()
		}
		_ = json.NewEncoder(w).Encode(body) // who hung up does not hear
	}
}

// backup sends an archive. The one who reads finds out whether it is whole.
func (a *admin) backup(w http.ResponseWriter, r *http.Request) {
	records, err := archive.Write(r.Context(), w, a.store, archive.Header{Cloud: a.cloud.ID(), Made: time.Now().UTC()})
	if err != nil {
		a.log.Warn("a backup was not finished", "error", err)
		return
	}
	a.log.Info("handed out a backup", "records", records)
}

// link is a way to an admin.
type link struct {
	client  *http.Client
	running bool // it is that of a running sfd
	close   func() error
}

// Close lets go of the records.
func (l *link) Close() error {
	l.client.CloseIdleConnections()
	return l.close()
}

// do asks for something. The answer is written to an io.Writer as it comes, or
// decoded into anything else.
func (l *link) do(ctx context.Context, method, path string, body io.Reader, to any) error {
	r, err := http.NewRequestWithContext(ctx, method, "http://sfd"+path, body)
	if err != nil {
		return err
	}
	response, err := l.client.Do(r)
	if err != nil {
		return fmt.Errorf("ask the running sfd: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return refusal(response)
	}
	if w, ok := to.(io.Writer); ok {
		_, err = io.Copy(w, response.Body)
	} else {
		err = json.NewDecoder(response.Body).Decode(to)
	}
	if err != nil {
		return fmt.Errorf("ask the running sfd: %w", err)
	}
	return nil
}

// refusal is the error that an answer tells of.
func refusal(response *http.Response) error {
	var text string
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&text); err != nil {
		return fmt.Errorf("the running sfd does not know this request (%s): is it of another version?", response.Status)
	}
	return errors.New(text)
}
