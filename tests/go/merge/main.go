// Command merge merges overlays into documents the way the platform's Go services do, and shows
// what encoding/json makes of the result.
//
// It reads one case a line, {"base": TEXT, "overlay": TEXT}, and writes one line for each:
// {"merged": DOCUMENT, "before": SETTINGS, "after": SETTINGS}, or {"error": TEXT}.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
)

type input struct {
	Base    string `json:"base"`
	Overlay string `json:"overlay"`
}

type output struct {
	Merged map[string]any `json:"merged,omitempty"`
	Before *settings      `json:"before,omitempty"`
	After  *settings      `json:"after,omitempty"`
	Error  string         `json:"error,omitempty"`
}

// The types below stand for those of the services: the names of fields and how blocks nest.

type tls struct {
	CertFile string `json:"cert_file"`
	KeyFile  string `json:"key_file"`
	CAFile   string `json:"ca_file"`
}

type security struct {
	Mode           string `json:"mode"`
	TrustDomain    string `json:"trust_domain"`
	ServerSPIFFEID string `json:"server_spiffe_id"`
	WorkloadSocket string `json:"workload_socket"`
	TLS            tls    `json:"tls"`
}

type agent struct {
	Address  string    `json:"address"`
	Security *security `json:"security"`
	Checks   []check   `json:"checks"`
}

type check struct {
	Name     string    `json:"name"`
	Security *security `json:"security"`
}

type config struct {
	Security   *security `json:"security"`
	KVSecurity *security `json:"kv_security"`
	KVAddress  string    `json:"kv_address"`
	NATS       *struct {
		URL      string    `json:"url"`
		Security *security `json:"security"`
	} `json:"nats"`
	Agents map[string]agent `json:"agents"`
	Checks []check          `json:"checks"`
	RBAC   struct {
		Roles []struct {
			Identity string `json:"identity"`
			Role     string `json:"role"`
		} `json:"roles"`
	} `json:"rbac"`
	CNPG struct {
		SSLMode string `json:"ssl_mode"`
	} `json:"cnpg"`
	Logging struct {
		Level string `json:"level"`
		OTel  struct {
			Insecure bool `json:"insecure"`
		} `json:"otel"`
	} `json:"logging"`
}

// settings are the parts of a config that an overlay must not change, by path.
type settings map[string]any

func (c *config) settings() *settings {
	found := settings{
		"kv_address":            c.KVAddress,
		"rbac":                  c.RBAC,
		"cnpg.ssl_mode":         c.CNPG.SSLMode,
		"logging.otel.insecure": c.Logging.OTel.Insecure,
	}
	add := func(path string, block *security) {
		if block != nil {
			found[path] = block
		}
	}
	add("security", c.Security)
	add("kv_security", c.KVSecurity)
	if c.NATS != nil {
		add("nats.security", c.NATS.Security)
	}
	for name, each := range c.Agents {
		add("agents."+name+".security", each.Security)
		for index, inner := range each.Checks {
			add(fmt.Sprintf("agents.%s.checks[%d].security", name, index), inner.Security)
		}
	}
	for index, each := range c.Checks {
		add(fmt.Sprintf("checks[%d].security", index), each.Security)
	}
	return &found
}

// decoded reads a document as a service does. A value of a wrong type is skipped, the rest is
// decoded all the same, and services have run with that.
func decoded(document []byte) *settings {
	var made config
	_ = json.Unmarshal(document, &made)
	return made.settings()
}

// merge puts src into dst: objects into objects by exact key, anything else replaces.
func merge(dst, src map[string]any) map[string]any {
	for key, value := range src {
		inner, isObject := value.(map[string]any)
		held, isHeldObject := dst[key].(map[string]any)
		if isObject && isHeldObject {
			dst[key] = merge(held, inner)
		} else {
			dst[key] = value
		}
	}
	return dst
}

func run(line []byte) output {
	var given input
	if err := json.Unmarshal(line, &given); err != nil {
		return output{Error: "case: " + err.Error()}
	}
	var base, overlay map[string]any
	if err := json.Unmarshal([]byte(given.Base), &base); err != nil {
		return output{Error: "base: " + err.Error()}
	}
	if err := json.Unmarshal([]byte(given.Overlay), &overlay); err != nil {
		return output{Error: "overlay: " + err.Error()}
	}
	before, err := json.Marshal(base) // sorts the keys, as on the platform
	if err != nil {
		return output{Error: "base: " + err.Error()}
	}
	merged := merge(base, overlay)
	after, err := json.Marshal(merged)
	if err != nil {
		return output{Error: "merged: " + err.Error()}
	}
	return output{Merged: merged, Before: decoded(before), After: decoded(after)}
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	written := bufio.NewWriter(os.Stdout)
	encoder := json.NewEncoder(written)
	for lines.Scan() {
		if err := encoder.Encode(run(lines.Bytes())); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if err := lines.Err(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := written.Flush(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
