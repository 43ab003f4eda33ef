package sbom

// Field is something that NTIA or TR-03183-2 wants of a component, or of the
// document.
type Field string

// The fields. FieldAuthor and FieldTimestamp are of the document, and their
// reasons stand in Product.Unknown.
const (
	FieldAuthor       Field = "author"
	FieldTimestamp    Field = "timestamp"
	FieldSupplier     Field = "supplier"
	FieldCreator      Field = "creator" // an email address or a URL
	FieldName         Field = "name"
	FieldVersion      Field = "version"
	FieldIdentifier   Field = "identifier" // a purl, a CPE or a SHA-256
	FieldDependencies Field = "dependencies"
	FieldFileName     Field = "filename"
	FieldLicence      Field = "licence" // concluded: the distribution licences
	FieldSHA512       Field = "sha512"
	FieldExecutable   Field = "executable"
	FieldArchive      Field = "archive"
	FieldStructured   Field = "structured"
)

// The standards that want fields.
const (
	ntia = "NTIA"
	bsi  = "TR-03183-2"
)

// wanted are the fields of a component, by who wants them: NTIA's minimum
// elements of 2021, and section 5.2.2 of TR-03183-2 v2.1.0.
var wanted = []struct {
	standard string
	fields   []Field
}{
	{ntia, []Field{FieldSupplier, FieldName, FieldVersion, FieldIdentifier, FieldDependencies}},
	{bsi, []Field{FieldCreator, FieldName, FieldVersion, FieldFileName, FieldDependencies, FieldLicence, FieldSHA512, FieldExecutable, FieldArchive, FieldStructured}},
}

// fields are those of wanted, each once.
var fields = []Field{FieldSupplier, FieldCreator, FieldName, FieldVersion, FieldIdentifier, FieldDependencies, FieldFileName, FieldLicence,
	FieldSHA512, FieldExecutable, FieldArchive, FieldStructured}

// has tells whether the field is known.
func (c *component) has(f Field) bool {
	switch f {
	case FieldSupplier:
		return c.creator.known()
	case FieldCreator:
		return c.creator.reachable()
	case FieldName:
		return c.name != ""
	case FieldVersion:
		return c.version != ""
	case FieldIdentifier:
		return c.purl != "" || c.cpe != "" || c.hashes.SHA256 != ""
	case FieldDependencies:
		return c.completeness == Complete || c.completeness == Incomplete
	case FieldFileName:
		return c.fileName != ""
	case FieldLicence:
		return said(c.licence.Concluded)
	case FieldSHA512:
		return c.hashes.SHA512 != ""
	case FieldExecutable:
		return c.nature.Executable != ""
	case FieldArchive:
		return c.nature.Archive != ""
	case FieldStructured:
		return c.nature.Structured != ""
	}
	return false
}

// why says why the field is not known, or "" where nobody says. What the model
// says comes before what is so for every component of the kind.
func (c *component) why(f Field) string {
	if s := line(c.unknown[f], maxLine); s != "" {
		return s
	}
	if f == FieldLicence && said(c.licence.Declared) {
		return "not concluded by anybody: what the component declares stands in its place"
	}
	if f == FieldCreator && c.creator.known() {
		return "not known: the name alone is given"
	}
	if s, ok := c.defaults[f]; ok {
		return s
	}
	return c.defaults[""]
}
