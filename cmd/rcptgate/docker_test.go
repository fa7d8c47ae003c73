package main

import (
	"os"
	"strings"
	"testing"

	"github.com/rcptgate/rcptgate/internal/config"
)

// TestDockerFilesAgree holds the files of deploy/docker to the program and to each other. No engine is
// needed; it does not prove that an image builds.
func TestDockerFilesAgree(t *testing.T) {
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile("../../deploy/docker/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	has := func(file, what string) {
		t.Helper()
		if !strings.Contains(read(file), what) {
			t.Errorf("%s has no %q", file, what)
		}
	}
	cfg, err := config.Parse("config.toml", []byte(read("config.toml")))
	if err != nil {
		t.Fatal(err)
	}
	// The gate listens where the ports lead, its relay is the other service, its networks are one.
	_, port, _ := strings.Cut(string(cfg.Proxy.Listen[0]), ":")
	has("compose.yaml", ":25:"+port+`"]`)
	has("Dockerfile", "EXPOSE "+port+" ")
	service, port, _ := strings.Cut(string(cfg.Relay.Upstreams[0]), ":")
	has("compose.yaml", "\n  "+service+":\n")
	has("postfix.Dockerfile", "EXPOSE "+port+"\n")
	has("postfix.Dockerfile", port+" inet n - n - - smtpd")
	network := cfg.Proxy.ClientNetworks[0].String()
	has("compose.yaml", "MAIL_NETWORKS: "+network)
	has("compose.yaml", "subnet: "+network)
	// Only the volume can be written.
	if dir := cfg.Policy.StateDirectory; !strings.HasPrefix(cfg.Verify.Cache.Path, dir+"/") {
		t.Errorf("verify.cache.path is not below %s", dir)
	}
	has("compose.yaml", "- rcptgate:"+cfg.Policy.StateDirectory+"\n")
	has("Dockerfile", "VOLUME "+cfg.Policy.StateDirectory+"\n")
	has("compose.yaml", "read_only: true")
	if cfg.HTTP.Listen == "" {
		t.Error("the health check has nobody to ask: http.listen is empty")
	}
	// The commands exist.
	for line := range strings.Lines(read("Dockerfile")) {
		_, list, ok := strings.Cut(line, "CMD [")
		if !ok {
			continue
		}
		words := strings.Split(strings.NewReplacer(`"`, "", "]", "", "\n", "").Replace(list), ", ")
		if words[0] == "/usr/bin/rcptgate" {
			words = words[1:]
		}
		cmd, _, err := newRootCmd().Find(words)
		if err != nil || cmd.Name() != words[0] || cmd.ParseFlags(words[1:]) != nil {
			t.Errorf("%q is no command: %v", words, err)
		}
	}
}
