package web

// EndpointsForTest lists the API as "METHOD path scope".
func EndpointsForTest() []string {
	var list []string
	for _, e := range endpoints() {
		list = append(list, e.method+" "+e.path+" "+string(e.scope))
	}
	return list
}
