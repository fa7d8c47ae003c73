package web

import (
	_ "embed"
	"net/http"
)

// description is the API in OpenAPI 3.1. A test compares it with endpoints and with what they answer.
//
//go:embed openapi.json
var description []byte

const descriptionPath = "/v1/openapi.json"

// describe sends the description, to everybody: it is the same in every gate of a version.
func describe(w http.ResponseWriter, _ *http.Request) {
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-cache")
	header.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(description) // who has gone does not read it
}
