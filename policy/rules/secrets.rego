package isotrace.rules.secrets

rule := {"id": "secrets", "reason": "An image is public: no key, token, history or credential is in it.", "requirement": ""}

findings contains {"subject": s.path, "message": s.what} if {
	some s in input.tree.secrets
	not listed(s.path)
}

listed(path) if {
	some pattern in input.settings.secrets
	glob.match(pattern, ["/"], path)
}
