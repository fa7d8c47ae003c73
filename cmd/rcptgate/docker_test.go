package main

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/rcptgate/rcptgate/internal/config"
)

const dockerDir = "../../deploy/docker"

// composeFile is what of deploy/docker/compose.yaml the tests know; another key is a fault, so that
// nothing is in it that they do not look at.
type composeFile struct {
	Services map[string]*composeService `yaml:"services"`
	Volumes  map[string]struct{}        `yaml:"volumes"`
	Networks map[string]struct {
		IPAM struct {
			Config []struct {
				Subnet string `yaml:"subnet"`
			} `yaml:"config"`
		} `yaml:"ipam"`
	} `yaml:"networks"`
}

type composeService struct {
	Build struct {
		Context    string `yaml:"context"`
		Dockerfile string `yaml:"dockerfile"`
	} `yaml:"build"`
	Restart     string            `yaml:"restart"`
	DependsOn   []string          `yaml:"depends_on"`
	ReadOnly    bool              `yaml:"read_only"`
	CapDrop     []string          `yaml:"cap_drop"`
	SecurityOpt []string          `yaml:"security_opt"`
	StopGrace   time.Duration     `yaml:"stop_grace_period"`
	Ports       []string          `yaml:"ports"`
	Volumes     []string          `yaml:"volumes"`
	Environment map[string]string `yaml:"environment"`

	Networks map[string]struct{} `yaml:"networks"`
}

func readDocker(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dockerDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func readCompose(t *testing.T) *composeFile {
	t.Helper()
	var c composeFile
	dec := yaml.NewDecoder(bytes.NewReader(readDocker(t, "compose.yaml")))
	dec.KnownFields(true)
	if err := dec.Decode(&c); err != nil {
		t.Fatal(err)
	}
	if err := dec.Decode(new(yaml.Node)); err != io.EOF { //nolint:errorlint // the very value
		t.Fatalf("a second document: %v", err)
	}
	if c.Services["rcptgate"] == nil || c.Services["postfix"] == nil || len(c.Services) != 2 {
		t.Fatalf("services %v", slices.Sorted(maps.Keys(c.Services)))
	}
	return &c
}

// dockerStep is an instruction of a Dockerfile.
type dockerStep struct{ name, text string }

// dockerStages are the instructions behind each FROM, which is the first of them.
func dockerStages(t *testing.T, name string) (stages [][]dockerStep) {
	t.Helper()
	var text string
	for line := range strings.Lines(string(readDocker(t, name))) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		text += strings.TrimSuffix(line, "\n")
		if whole, goesOn := strings.CutSuffix(text, `\`); goesOn {
			text = whole
			continue
		}
		word, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
		text = ""
		switch {
		case word == "":
			continue
		case word == "FROM":
			stages = append(stages, nil)
		case len(stages) == 0:
			t.Fatalf("%s: %s before FROM", name, word)
		}
		stages[len(stages)-1] = append(stages[len(stages)-1], dockerStep{word, strings.TrimSpace(rest)})
	}
	if text != "" || len(stages) == 0 {
		t.Fatalf("%s has no end", name)
	}
	return stages
}

// the is the only instruction of a name.
func the(t *testing.T, steps []dockerStep, name string) string {
	t.Helper()
	found := slices.DeleteFunc(slices.Clone(steps), func(s dockerStep) bool { return s.name != name })
	if len(found) != 1 {
		t.Fatalf("%d times %s", len(found), name)
	}
	return found[0].text
}

// words is the exec form of CMD and ENTRYPOINT, wherever in an instruction it stands.
func words(t *testing.T, text string) (list []string) {
	t.Helper()
	if err := json.Unmarshal([]byte(text[strings.IndexByte(text, '['):]), &list); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return list
}

// TestComposeFile holds compose.yaml to the files beside it, to the image and to the configuration.
func TestComposeFile(t *testing.T) {
	c := readCompose(t)
	cfg, err := config.Parse("config.toml", readDocker(t, "config.toml"))
	if err != nil {
		t.Fatal(err)
	}
	gate, postfix := c.Services["rcptgate"], c.Services["postfix"]
	if !gate.ReadOnly || !slices.Equal(gate.CapDrop, []string{"ALL"}) ||
		!slices.Equal(gate.SecurityOpt, []string{"no-new-privileges:true"}) {
		t.Errorf("the gate may do more than it must: %+v", gate)
	}
	if gate.StopGrace < time.Duration(cfg.Proxy.DrainTimeout)+5*time.Second {
		t.Errorf("stop_grace_period %v ends a drain of %v", gate.StopGrace, time.Duration(cfg.Proxy.DrainTimeout))
	}
	for name, service := range c.Services {
		file := filepath.Join(dockerDir, service.Build.Context, service.Build.Dockerfile)
		if info, err := os.Stat(file); err != nil || info.IsDir() {
			t.Errorf("%s is built from %s: %v", name, file, err)
		}
		for _, needs := range service.DependsOn {
			if c.Services[needs] == nil {
				t.Errorf("%s depends on %s, which is no service", name, needs)
			}
		}
		checkVolumes(t, c, name)
	}

	// Clients reach the gate on this host alone, where it listens.
	_, listen, err := net.SplitHostPort(string(cfg.Proxy.Listen[0]))
	if want := []string{"127.0.0.1:25:" + listen}; err != nil || !slices.Equal(gate.Ports, want) {
		t.Errorf("ports %q, want %q; %v", gate.Ports, want, err)
	}
	// Its relay is the other service, in the same network, which nobody else is published to.
	relay, port, err := net.SplitHostPort(string(cfg.Relay.Upstreams[0]))
	if err != nil || c.Services[relay] != postfix || len(postfix.Ports) > 0 {
		t.Errorf("the relay is %s: %v; published: %q", relay, err, postfix.Ports)
	}
	image := dockerStages(t, "postfix.Dockerfile")[0]
	if the(t, image, "EXPOSE") != port || !strings.Contains(the(t, image, "RUN"), "'"+port+"/inet="+port+" inet ") {
		t.Errorf("Postfix does not listen at port %s", port)
	}
	subnet := c.Networks["mail"].IPAM.Config[0].Subnet
	if network := cfg.Proxy.ClientNetworks[0].String(); network != subnet ||
		postfix.Environment["MAIL_NETWORKS"] != subnet {
		t.Errorf("networks: %s in config.toml, %s, and %s for Postfix", network, subnet,
			postfix.Environment["MAIL_NETWORKS"])
	}
	for name := range postfix.Environment {
		if !strings.Contains(the(t, image, "CMD"), "$"+name) {
			t.Errorf("postfix.Dockerfile does not use %s", name)
		}
	}
	for name, service := range c.Services {
		if _, ok := service.Networks["mail"]; !ok || len(service.Networks) != 1 {
			t.Errorf("%s is in the networks %v", name, service.Networks)
		}
	}
}

// checkVolumes: what a service mounts is there.
func checkVolumes(t *testing.T, c *composeFile, name string) {
	t.Helper()
	service := c.Services[name]
	stages := dockerStages(t, filepath.Base(service.Build.Dockerfile))
	image := stages[len(stages)-1]
	for _, volume := range service.Volumes {
		parts := strings.Split(volume, ":")
		if len(parts) < 2 || !path.IsAbs(parts[1]) {
			t.Errorf("%s mounts %q", name, volume)
			continue
		}
		if !strings.HasPrefix(parts[0], ".") {
			if _, ok := c.Volumes[parts[0]]; !ok || the(t, image, "VOLUME") != parts[1] {
				t.Errorf("%s: %s is no volume of both files", name, volume)
			}
			continue
		}
		if info, err := os.Stat(filepath.Join(dockerDir, parts[0])); err != nil || !info.Mode().IsRegular() {
			t.Errorf("%s mounts %s: %v", name, parts[0], err)
		}
		if len(parts) != 3 || parts[2] != "ro" {
			t.Errorf("%s can change %s", name, parts[0])
		}
	}
}

// TestDockerImage holds the Dockerfile to the configuration, and runs its commands as far as they go
// without a network.
func TestDockerImage(t *testing.T) {
	file := filepath.Join(dockerDir, "config.toml")
	var out, errs bytes.Buffer
	if code := run([]string{"check-config", "--config", file}, strings.NewReader(""), &out, &errs); code != exitDone {
		t.Errorf("check-config: exit code %d: %s", code, errs.String())
	}
	cfg, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	stages := dockerStages(t, "Dockerfile")
	image := stages[len(stages)-1]
	user, group, _ := strings.Cut(the(t, image, "USER"), ":")
	for _, id := range []string{user, group} {
		// A number: Kubernetes' runAsNonRoot cannot tell who a name is.
		if n, err := strconv.Atoi(id); err != nil || n == 0 {
			t.Errorf("USER %s:%s: not a number of somebody else than root", user, group)
		}
	}
	// Only the volume can be written.
	volume := the(t, image, "VOLUME")
	if cfg.Policy.StateDirectory != volume || path.Dir(cfg.Verify.Cache.Path) != volume {
		t.Errorf("the volume is %s, but state is in %s and the cache %s", volume, cfg.Policy.StateDirectory,
			cfg.Verify.Cache.Path)
	}
	var ports []string
	for _, listen := range []config.Endpoint{cfg.Proxy.Listen[0], cfg.HTTP.Listen} {
		_, port, err := net.SplitHostPort(string(listen))
		if err != nil {
			t.Errorf("%s: %v", listen, err) // the health check has nobody to ask
		}
		ports = append(ports, port)
	}
	if got := the(t, image, "EXPOSE"); got != strings.Join(ports, " ") {
		t.Errorf("EXPOSE %s, want %s", got, ports)
	}
	// The commands exist, with these flags, and have the file that compose.yaml mounts.
	entry, check := words(t, the(t, image, "ENTRYPOINT")), words(t, the(t, image, "HEALTHCHECK"))
	for name, command := range map[string][]string{
		"serve": append(slices.Clone(entry), words(t, the(t, image, "CMD"))...), "healthcheck": check,
	} {
		if command[0] != "/usr/bin/rcptgate" || command[1] != name {
			t.Errorf("%q does not run rcptgate %s", command, name)
			continue
		}
		cmd, _, err := newRootCmd().Find(command[1:])
		if err != nil || cmd.Name() != name || cmd.ParseFlags(command[2:]) != nil {
			t.Errorf("%q is no command: %v", command, err)
			continue
		}
		mounted := cmd.Flag("config").Value.String() + ":ro"
		if !slices.Contains(readCompose(t).Services["rcptgate"].Volumes, "./config.toml:"+mounted) {
			t.Errorf("%s reads %s, which compose.yaml does not mount", name, mounted)
		}
	}
}

// TestDockerBuild runs the commands of the Dockerfile's first stage on this machine, with another
// place for /out: what they build is what `make build` builds.
func TestDockerBuild(t *testing.T) {
	stages := dockerStages(t, "Dockerfile")
	build, image := stages[0], stages[len(stages)-1]
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	commands := build[len(build)-1]
	if commands.name != "RUN" || the(t, image, "COPY") != "--from=build /out/ /" {
		t.Fatalf("the image is not /out of %v", commands)
	}
	env := append(os.Environ(), "GOFLAGS=", "GOOS=", "GOARCH=")
	var names []string
	for _, step := range build {
		if step.name == "ARG" {
			name, _, _ := strings.Cut(step.text, "=")
			names = append(names, name)
			env = append(env, name+"=test-"+strings.ToLower(name))
		}
	}
	if !slices.Equal(names, []string{"VERSION", "COMMIT"}) {
		t.Errorf("ARG %q", names)
	}
	script := strings.ReplaceAll(commands.text, "/out", out)
	if os.Geteuid() != 0 {
		script = strings.NewReplacer("-o 65532", "", "-g 65532", "").Replace(script)
	}
	if _, err := os.Stat("/etc/ssl/certs/ca-certificates.crt"); err != nil {
		t.Logf("this machine has no certificates of authorities, the image of golang has: %v", err)
		script = strings.ReplaceAll(script, " /etc/ssl/certs/ca-certificates.crt ", " LICENSE ")
	}
	shell(t, env, script)

	made := filepath.Join(dir, "made")
	recipe, err := exec.Command("make", "-n", "-C", "../..", "--no-print-directory", "build",
		"VERSION=test-version", "COMMIT=test-commit").Output()
	if err != nil {
		t.Fatal(err)
	}
	shell(t, env, strings.Replace(string(recipe), "-o bin/rcptgate", "-o "+made, 1))
	compareBuilds(t, filepath.Join(out, "usr/bin/rcptgate"), made)

	for _, name := range []string{"LICENSE", "licenses.txt", "sbom.cdx.json", "etc/ssl/certs/ca-certificates.crt"} {
		if info, err := os.Stat(filepath.Join(out, name)); err != nil || info.Size() == 0 {
			t.Errorf("the image has no %s: %v", name, err)
		}
	}
	passwd, err := os.ReadFile(filepath.Join(out, "etc/passwd"))
	if user := the(t, image, "USER"); err != nil || !strings.HasPrefix(string(passwd), "rcptgate:x:"+user+":") {
		t.Errorf("passwd %q, %v", passwd, err)
	}
	state := filepath.Join(out, the(t, image, "VOLUME"))
	if info, err := os.Stat(state); err != nil || info.Mode() != os.ModeDir|0o700 {
		t.Errorf("%s: %v, %v", state, info, err)
	}
}

// shell runs a script as RUN does, in the module's root.
func shell(t *testing.T, env []string, script string) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-e", "-c", script)
	cmd.Dir, cmd.Env = "../..", env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// compareBuilds: two binaries are of the same packages, made the same way, but for the build id and
// what Go has noted of the repository.
func compareBuilds(t *testing.T, docker, made string) {
	t.Helper()
	read := func(file string) string {
		info, err := buildinfo.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var settings strings.Builder
		fmt.Fprintln(&settings, info.GoVersion, info.Path)
		for _, dep := range info.Deps {
			fmt.Fprintln(&settings, dep.Path, dep.Version, dep.Sum)
		}
		for _, s := range info.Settings {
			if !strings.HasPrefix(s.Key, "vcs") {
				fmt.Fprintln(&settings, s.Key, strings.Replace(s.Value, "-buildid= ", "", 1))
			}
		}
		version, err := exec.Command(file, "version").Output()
		if err != nil || !strings.Contains(string(version), "test-version") {
			t.Errorf("%s version: %q, %v", file, version, err)
		}
		return settings.String() + string(version)
	}
	if a, b := read(docker), read(made); a != b {
		t.Errorf("the image has\n%s\nmake build makes\n%s", a, b)
	}
}
