import tseslint from "typescript-eslint";

// Biome formats and lints; this adds the rules that need types.
export default tseslint.config({
	ignores: ["**/*.d.ts"],
	files: ["bin/**/*.ts", "commands/**/*.ts", "src/**/*.ts", "test/**/*.ts", "scripts/**/*.ts"],
	languageOptions: {
		parser: tseslint.parser,
		parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
	},
	plugins: { "@typescript-eslint": tseslint.plugin },
	rules: {
		"@typescript-eslint/no-floating-promises": "error",
		"@typescript-eslint/no-misused-promises": "error",
		"@typescript-eslint/await-thenable": "error",
		"@typescript-eslint/only-throw-error": "error",
		"@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }],
		"no-restricted-exports": ["error", { restrictDefaultExports: { direct: true } }],
	},
});
