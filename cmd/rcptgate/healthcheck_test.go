package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rcptgate/rcptgate/internal/config"
)

func TestHealthcheck(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			t.Errorf("asks %s", r.URL.Path)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte("relay: ok\n"))
	}))
	defer server.Close()
	at := config.Endpoint(strings.TrimPrefix(server.URL, "http://"))
	var out strings.Builder
	if err := askReady(t.Context(), config.HTTP{Listen: at}, &out); err != nil || out.String() != "relay: ok\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
	status = http.StatusServiceUnavailable
	if err := askReady(t.Context(), config.HTTP{Listen: at}, &out); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("not ready: %v", err)
	}
	server.Close()
	if err := askReady(t.Context(), config.HTTP{Listen: at}, &out); err == nil {
		t.Error("nobody there, but no error")
	}
	if err := askReady(t.Context(), config.HTTP{}, &out); err == nil {
		t.Error("no listener, but no error")
	}
}

func TestReadyAddress(t *testing.T) {
	for at, want := range map[config.Endpoint]string{
		"0.0.0.0:8025": "127.0.0.1:8025", "[::]:8025": "[::1]:8025", ":8025": "127.0.0.1:8025",
		"192.0.2.1:80": "192.0.2.1:80", "unix:/run/x": "/run/x",
	} {
		if _, got := readyAddress(at); got != want {
			t.Errorf("%s: %s, want %s", at, got, want)
		}
	}
}
