package isotrace.rules.keys

rule := {"id": "keys", "reason": "Who builds, who owns the layout and who releases are different keys.", "requirement": ""}

findings contains {"subject": input.keys.builder, "message": "builds, and owns the layout"} if {
	input.keys.builder != ""
	input.keys.builder == input.keys.owner
	not input.keys.builder in input.settings["shared-keys"]
}

findings contains {"subject": l.signer, "message": sprintf("signed the link of %s, and is no functionary of the layout", [l.stage])} if {
	count(input.keys.functionaries) > 0
	some l in input.links
	not l.signer in input.keys.functionaries
}
