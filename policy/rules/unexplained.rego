package isotrace.rules.unexplained

rule := {"id": "unexplained", "reason": "A file that nobody is known to have made can be anything.", "requirement": ""}

findings contains {"subject": f.path, "message": sprintf("is of unknown origin, in %s", [f.part])} if {
	some f in input.tree.files
	f.origin == "unexplained"
	not accepted(f)
}

accepted(f) if f.accepted != ""
