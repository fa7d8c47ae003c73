package message

// CheckConfig returns every fault of cfg as ConfigErrors, nil if there is none.
func CheckConfig(cfg Config) error {
	if faults := cfg.faults(); len(faults) > 0 {
		return faults
	}
	return nil
}
