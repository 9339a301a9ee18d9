import { createCipheriv, createDecipheriv } from "node:crypto";
import type { ICryptoInterface } from "@libp2p/noise";
import { defaultCrypto } from "@libp2p/noise/crypto";

const ALGORITHM = "aes-256-gcm";
const TAG_BYTES = 16;

/**
 * Noise with AES-256-GCM, which the runtime has natively, in the place of ChaCha20-Poly1305. The nonce is the counter in 64 bits,
 * big-endian, behind four zeros. Source: the Noise Protocol Framework, revision 34, section 12.4.
 */
export const AES_GCM_NOISE: ICryptoInterface = {
	...defaultCrypto,
	chaCha20Poly1305Encrypt(plaintext, nonce, ad, key) {
		const cipher = createCipheriv(ALGORITHM, key, aesNonce(nonce), { authTagLength: TAG_BYTES });
		cipher.setAAD(ad);
		// Piece by piece: joining them first would be one more copy of everything that goes out.
		const pieces = plaintext instanceof Uint8Array ? [plaintext] : [...plaintext];
		const texts = pieces.map((piece) => cipher.update(piece));
		cipher.final();
		return Buffer.concat([...texts, cipher.getAuthTag()]);
	},
	chaCha20Poly1305Decrypt(ciphertext, nonce, ad, key) {
		const sealed = ciphertext.subarray();
		const textBytes = sealed.byteLength - TAG_BYTES;
		const decipher = createDecipheriv(ALGORITHM, key, aesNonce(nonce), { authTagLength: TAG_BYTES });
		decipher.setAAD(ad);
		decipher.setAuthTag(sealed.subarray(textBytes));
		const text = decipher.update(sealed.subarray(0, textBytes));
		decipher.final();
		return text;
	},
};

/** @param nonce 12 bytes: four zeros, then the counter, little-endian */
function aesNonce(nonce: Uint8Array): Uint8Array {
	const reversed = new Uint8Array(12);
	for (let index = 0; index < 8; index++) reversed[4 + index] = nonce[11 - index]!;
	return reversed;
}
