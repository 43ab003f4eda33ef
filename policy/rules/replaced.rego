package isotrace.rules.replaced

rule := {"id": "replaced", "reason": "Nothing but the builder's word vouches for a program that is not as its package has it.", "requirement": ""}

findings contains {"subject": f.path, "message": sprintf("is a program, and is not as %s has it: %s has changed it", [f.package, f.by])} if {
	some f in input.tree.files
	f.replaced
}
