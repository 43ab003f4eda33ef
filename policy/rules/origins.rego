package isotrace.rules.origins

rule := {"id": "origins", "reason": "Files come only from where the settings let them.", "requirement": ""}

findings contains {"subject": f.path, "message": sprintf("is %s, in %s", [f.origin, f.part])} if {
	some f in input.tree.files
	f.origin != "unexplained" # that is a rule of its own
	not f.origin in input.settings.origins
}
